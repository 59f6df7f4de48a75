"""What the judge found of each test image, for ranks that know how uncertain F1 is; older verdicts have none.

And the two formulas that took milliseconds and take the ratio now: what people score for themselves by them goes on as
one board, under the hash that its rules have today. Hosted boards keep theirs until their organiser ranks them anew.
Functions that the harness has elsewhere are copied here, as they were: this file must do the same for ever.
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0004"
down_revision = "0003"

REVISED = ("f1_squared_fps", "rank_mean")
NEW = ("f1_draws", "f1_public_draws", "f1_private_draws")


def upgrade() -> None:
    """Add what is new; name the boards whose formula has another meaning."""
    op.add_column("verdicts", sa.Column("predicted", sa.Text().with_variant(MEDIUMTEXT(), "mysql")))
    for name in NEW:
        op.add_column("verdicts", sa.Column(name, sa.Text))
    columns = (sa.column(name, kind) for name, kind in (
        ("id", sa.Integer), ("handle", sa.String), ("hosted", sa.Boolean), ("rules", sa.JSON), ("digest", sa.String),
        ("terms", sa.String), ("data_fingerprint", sa.String),
    ))  # fmt: skip
    table, connection = sa.table("competitions", *columns), op.get_bind()
    for old in connection.execute(sa.select(table).where(table.c.hosted.is_(False))).mappings().all():
        if old["rules"]["formula"] in REVISED:
            change = sa.update(table).where(table.c.id == old["id"])
            connection.execute(change.values(_revised(old["rules"], old["data_fingerprint"])))


def downgrade() -> None:
    """Refuse: boards would have a hash of a meaning that their scores don't have."""
    raise NotImplementedError("an older harness reads the backup that was made before the upgrade")


def _revised(rules: dict, fingerprint: str) -> dict:
    rules = rules | ({"reference_ms": 1.0} if rules["formula"] == "f1_squared_fps" else {})
    meaning = rules | {"revision": 2}
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
    terms = json.dumps([meaning, {}, fingerprint], sort_keys=True, separators=(",", ":"))
    return {
        "rules": rules, "digest": digest, "handle": f"{digest}/{fingerprint}",
        "terms": hashlib.sha256(terms.encode()).hexdigest(),
    }  # fmt: skip
