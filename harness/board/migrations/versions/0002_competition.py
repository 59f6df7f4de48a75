"""The competition: hosted rules, teams, the queue, boards and the log. What was judged before goes to team `local`.

Functions that the harness has elsewhere are copied here, as they were: this file must do the same for ever.
"""

import hashlib
import json
import time
from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NEW = (
    ("competition_id", sa.Integer),
    ("team_id", sa.Integer),
    ("kind", sa.String(8)),
    ("content", sa.String(64)),
    ("sizes", sa.JSON),
    ("created", sa.Double),
    ("day", sa.String(10)),
    ("charged", sa.Boolean),
    ("state", sa.String(8)),
    ("tries", sa.Integer),
    ("fence", sa.Integer),
    ("warned", sa.Boolean),
    ("picked", sa.Boolean),
    ("placed", sa.Boolean),
)
NULLABLE = (
    ("stage", sa.String(16)),
    ("reason", sa.String(32)),
    ("message", sa.Text),
    ("owner", sa.String(200)),
    ("lease_s", sa.Double),
    ("lease_until", sa.Double),
    ("verdict_id", sa.Integer),
    ("f1_shown", sa.Double),
)
OLD = ("competition", "settings", "data_name", "data_fingerprint", "team", "packed")
MOVED_JSON = ("settings", "manifest", "sizes", "rules", "contest", "classes", "checks")
JUDGED = (
    ("terms", sa.String(64)),
    ("f1_public", sa.Double),
    ("f1_private", sa.Double),
    ("checks", sa.JSON),
    ("sandbox", sa.String(8)),
)


def upgrade() -> None:
    """Add what is new, move what is there, drop what is old."""
    _create()
    for column in ("competition", "data_fingerprint", "name"):
        op.drop_index(f"ix_entries_{column}", "entries")
    with op.batch_alter_table("entries") as entries:
        entries.alter_column("created", new_column_name="packed", existing_type=sa.String(32), existing_nullable=False)
    for table, columns in (("entries", (*NEW, *NULLABLE)), ("verdicts", JUDGED)):
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind() if isinstance(kind, type) else kind))
    for name in ("points_public", "points_private"):
        op.add_column("verdicts", sa.Column(name, sa.Double))
    _move(op.get_bind())
    with op.batch_alter_table("entries") as entries:
        for name, kind in NEW:
            entries.alter_column(name, existing_type=kind() if isinstance(kind, type) else kind, nullable=False)
        for name in OLD:
            entries.drop_column(name)
        entries.create_foreign_key("fk_entries_competition_id", "competitions", ["competition_id"], ["id"])
        entries.create_foreign_key("fk_entries_team_id", "teams", ["team_id"], ["id"])
        unique = ("competition_id", "team_id", "kind", "content")
        entries.create_unique_constraint("uq_entries_" + "_".join(unique), [*unique])
    with op.batch_alter_table("verdicts") as verdicts:
        for name, kind in JUDGED:
            verdicts.alter_column(name, existing_type=kind() if isinstance(kind, type) else kind, nullable=False)
    for name, columns in (
        ("queue", ("state", "tries", "id", "competition_id")),
        ("quota", ("competition_id", "team_id", "kind", "day", "charged")),
        ("state", ("competition_id", "state")),
        ("newest", ("competition_id", "id")),
        ("placed", ("competition_id", "placed")),
        ("picked", ("competition_id", "picked")),
        ("lease", ("state", "lease_until")),
        ("team_id", ("team_id",)),
    ):
        op.create_index(f"ix_entries_{name}", "entries", [*columns])


def downgrade() -> None:
    """Refuse: teams and queue have no place in what was before."""
    raise NotImplementedError("an older harness reads the backup that was made before the upgrade")


def _create() -> None:
    op.create_table(
        "competitions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("handle", sa.String(128), nullable=False),
        sa.Column("hosted", sa.Boolean, nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(16), nullable=False),
        sa.Column("contest", sa.JSON, nullable=False),
        sa.Column("terms", sa.String(64), nullable=False),
        sa.Column("data_name", sa.String(255), nullable=False),
        sa.Column("data_fingerprint", sa.String(64), nullable=False),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("public_images", sa.Integer, nullable=False),
        sa.Column("opens", sa.Double),
        sa.Column("closes", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.UniqueConstraint("handle", name="uq_competitions_handle"),
    )
    op.create_index("ix_competitions_digest", "competitions", ["digest"])
    op.create_table(
        "teams",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("handle", sa.String(128), nullable=False),
        sa.Column("prefix", sa.String(8)),
        sa.Column("token_sha256", sa.String(64)),
        sa.Column("url", sa.String(255), nullable=False),
        sa.Column("baseline", sa.Boolean, nullable=False),
        sa.Column("revoked", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.UniqueConstraint("handle", name="uq_teams_handle"),
    )
    op.create_index("ix_teams_prefix", "teams", ["prefix"])
    op.create_table(
        "boards",
        sa.Column(
            "competition_id",
            sa.Integer,
            sa.ForeignKey("competitions.id", name="fk_boards_competition_id"),
            primary_key=True,
        ),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("terms", sa.String(64), nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_table(
        "log",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("before", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def _move(connection: sa.Connection) -> None:
    now = time.time()
    _begin_log(connection)
    names = ("id", "packed", "model_sha256", "manifest", *(name for name, _ in (*NEW, *NULLABLE)), *OLD[:4])
    entries = _table("entries", *names)
    verdicts = _table("verdicts", "id", "entry_id", "f1", "points", "points_public", "points_private", *dict(JUDGED))
    teams = _table("teams", "id", "name", "handle", "url", "baseline", "created")
    team = {"name": "local", "handle": "local", "url": "", "baseline": False, "created": now}
    connection.execute(sa.insert(teams).values(team))
    local = connection.scalar(sa.select(teams.c.id))
    seen: dict[tuple[int, str], int] = {}
    for old in connection.execute(sa.select(entries).order_by(entries.c.id)).mappings().all():
        competition = _competition(connection, old, now)
        content = _content(old["manifest"], old["model_sha256"])
        mine = verdicts.c.entry_id == old["id"]
        if (competition, content) in seen:  # written twice at one moment
            first = seen[competition, content]
            connection.execute(sa.update(verdicts).where(mine).values(entry_id=first))
            connection.execute(sa.delete(entries).where(entries.c.id == old["id"]))
            mine = verdicts.c.entry_id == first
        else:
            seen[competition, content] = old["id"]
        latest = connection.scalar(sa.select(sa.func.max(verdicts.c.id)).where(mine))
        values = {
            "competition_id": competition, "team_id": local, "kind": "local", "content": content, "sizes": {},
            "created": _seconds(old["packed"]), "day": old["packed"][:10], "charged": False,
            "state": "FAIL" if latest is None else "COMPLETE", "tries": 0, "fence": 0, "warned": False,
            "picked": False, "placed": False, "verdict_id": latest,
        }  # fmt: skip
        connection.execute(sa.update(entries).where(entries.c.id == seen[competition, content]).values(values))
        digest = _digest(old["settings"], old["data_fingerprint"])
        # judged before there was a sandbox, on the whole of the test images
        judged = {
            "terms": digest, "f1_public": verdicts.c.f1, "f1_private": verdicts.c.f1, "checks": {}, "sandbox": "unsafe",
            "points_public": verdicts.c.points, "points_private": verdicts.c.points,
        }  # fmt: skip
        connection.execute(sa.update(verdicts).where(mine).values(judged))


def _begin_log(connection: sa.Connection) -> None:
    columns = [sa.column(name) for name in ("id", "at", "actor", "action", "detail", "before", "hash")]
    values = {"id": 0, "at": "", "actor": "", "action": "begin", "detail": "{}", "before": "0" * 64}
    text = json.dumps([*values.values()], separators=(",", ":"))
    row = values | {"hash": hashlib.sha256(text.encode()).hexdigest()}
    connection.execute(sa.insert(sa.table("log", *columns)).values(row))


def _competition(connection: sa.Connection, old: sa.RowMapping, now: float) -> int:
    settings, fingerprint = old["settings"], old["data_fingerprint"]
    values = {
        "handle": f"{old['competition']}/{fingerprint}", "hosted": False, "rules": settings,
        "digest": old["competition"], "contest": {}, "terms": _digest(settings, fingerprint),
        "data_name": old["data_name"], "data_fingerprint": fingerprint,
        "classes": old["manifest"].get("classes", []), "public_images": 0, "created": now,
    }  # fmt: skip
    table = _table("competitions", "id", *values)
    mine = sa.select(table.c.id).where(table.c.handle == values["handle"])
    if connection.scalar(mine) is None:
        connection.execute(sa.insert(table).values(values))
    return connection.scalar(mine)


def _table(name: str, *columns: str) -> sa.TableClause:
    """Name a table by what is used of it: to look it up would take MariaDB's JSON for text."""
    return sa.table(name, *(sa.column(c, sa.JSON if c in MOVED_JSON else None) for c in columns))


def _digest(settings: dict, fingerprint: str) -> str:
    return hashlib.sha256(_canonical([settings, {}, fingerprint]).encode()).hexdigest()


def _content(manifest: dict, model_sha256: str) -> str:
    text = json.dumps(manifest, indent=2) + "\n"
    files = manifest["files"] | {
        "model.onnx": model_sha256,
        "manifest.json": hashlib.sha256(text.encode()).hexdigest(),
    }
    return hashlib.sha256(_canonical(files).encode()).hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
