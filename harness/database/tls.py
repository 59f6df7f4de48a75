"""How a MySQL is asked for an encrypted connection, in the words of those who offer one.

PyMySQL takes a mapping where cloud providers show `?ssl=true`, and MySQL's own programs `--ssl-mode=REQUIRED`.
Source: https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode
"""

from __future__ import annotations

import json
import ssl
from typing import Any

import sqlalchemy as sa

from harness.errors import HarnessError

WORDS = ("ssl", "ssl-mode", "ssl_mode", "sslmode", "sslMode", "tls", "useSSL", "requireSSL", "sslaccept")
"""The options of a url that ask for it."""
OFF = ("false", "0", "no", "off", "disabled", "disable", "")
ANY = ("true", "1", "yes", "on", "required", "require", "preferred", "prefer", "skip-verify", "accept_invalid_certs")
CHECKED = ("verify_ca", "verify-ca")
NAMED = ("verify_identity", "verify-identity", "verify-full", "verify_full", "strict")


def tls(target: sa.URL, setting: str) -> dict[str, Any]:
    """Return PyMySQL's argument for what a url asks for; nothing where it asks for nothing, or of another database.

    Raises:
        HarnessError: it asks for what there isn't.
    """
    asked = {name: value for name, value in target.query.items() if name in WORDS}
    if target.get_backend_name() != "mysql" or not asked:
        return {}
    name, value = next(iter(asked.items()))
    word = _word(str(value))
    if word in OFF:
        return {}
    if word not in (*ANY, *CHECKED, *NAMED):
        raise HarnessError(
            f"{setting}: its option {name}={value}: allowed: true, false, REQUIRED, VERIFY_CA, VERIFY_IDENTITY",
            "write ?ssl-mode=REQUIRED, or leave it out for a connection without encryption",
        )
    authority = target.query.get("ssl_ca")
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
    except OSError as e:
        raise HarnessError(f"{setting}: its option ssl_ca={authority}: {e}", "name a file of certificates (PEM)") from e
    context.check_hostname = word in NAMED
    if word in ANY and not authority:
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def _word(value: str) -> str:
    """Return what is asked for: the mapping `{"rejectUnauthorized": true}` is some clients' way to write it."""
    if value.startswith("{"):
        try:
            return "verify_identity" if json.loads(value).get("rejectUnauthorized") else "required"
        except ValueError:
            return value
    return value.lower()


def without_tls(target: sa.URL) -> sa.URL:
    """Return a MySQL's url without what `tls` has read."""
    if target.get_backend_name() != "mysql":
        return target
    return target.difference_update_query([*WORDS, *(["ssl_ca"] if tls(target, "") else [])])
