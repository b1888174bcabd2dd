"""The record, what intake keeps beside it, and what the loops keep beside the read models."""

from typing import Final

from alembic import op

revision = "0001"
down_revision = None

# As they were made by the program itself before there were migrations: such a database is taken over.
_STATEMENTS: Final = """
CREATE TABLE IF NOT EXISTS stored_events (
    originator_id text NOT NULL, originator_version bigint NOT NULL, topic text, state bytea,
    notification_id bigserial, PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_enabled = true, autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5, autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01);
CREATE UNIQUE INDEX IF NOT EXISTS stored_events_notification_id_idx ON stored_events (notification_id);

CREATE TABLE IF NOT EXISTS intake_positions (
    topic {text} NOT NULL, part integer NOT NULL, next bigint NOT NULL, PRIMARY KEY (topic, part));
CREATE TABLE IF NOT EXISTS message_counts (name {text} PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE IF NOT EXISTS handled_messages (
    source {text} NOT NULL, id {text} NOT NULL, fingerprint {text} NOT NULL, PRIMARY KEY (source, id));
CREATE TABLE IF NOT EXISTS parked_messages (
    id {text} PRIMARY KEY, source {text} NOT NULL, message_id {text} NOT NULL, waiting_for {text} NOT NULL,
    waiting_name {text} NOT NULL, since {text} NOT NULL, day {text} NOT NULL, box bytea NOT NULL);
CREATE INDEX IF NOT EXISTS parked_by_stream ON parked_messages (waiting_for);
CREATE INDEX IF NOT EXISTS parked_by_age ON parked_messages (since, id);
CREATE TABLE IF NOT EXISTS dead_letters (
    id {text} PRIMARY KEY, source {text}, message_id {text}, code {text} NOT NULL, field {text} NOT NULL,
    reason {text} NOT NULL, status {text} NOT NULL, at {text} NOT NULL, day {text} NOT NULL,
    box bytea NOT NULL);
CREATE INDEX IF NOT EXISTS dead_by_age ON dead_letters (at, id);
CREATE TABLE IF NOT EXISTS sealed_outbox (
    event_id {text} NOT NULL, path {text} NOT NULL, key_id {text} NOT NULL, box bytea NOT NULL,
    position bigint, PRIMARY KEY (event_id, path));
CREATE INDEX IF NOT EXISTS sealed_by_key ON sealed_outbox (key_id);
CREATE INDEX IF NOT EXISTS sealed_by_position ON sealed_outbox (position);

CREATE TABLE IF NOT EXISTS sealed_values (
    event_id {text} NOT NULL, path {text} NOT NULL, key_id {text} NOT NULL, partition_key {text} NOT NULL,
    box bytea NOT NULL, PRIMARY KEY (event_id, path));
CREATE INDEX IF NOT EXISTS ix_sealed_values_key_id ON sealed_values (key_id);
CREATE TABLE IF NOT EXISTS view_generations (last bigint NOT NULL);
INSERT INTO view_generations SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM view_generations);
CREATE TABLE IF NOT EXISTS view_positions (
    owner {text} NOT NULL, topic {text} NOT NULL, part bigint NOT NULL, next bigint NOT NULL,
    position bigint NOT NULL, PRIMARY KEY (owner, topic, part));
CREATE TABLE IF NOT EXISTS view_tables (
    table_name {text} PRIMARY KEY, view {text} NOT NULL, generation bigint NOT NULL);
CREATE TABLE IF NOT EXISTS views (
    name {text} PRIMARY KEY, version bigint NOT NULL, generation bigint NOT NULL);

CREATE TABLE IF NOT EXISTS process_things_0 (
    force {text} NOT NULL, place {text} NOT NULL, id {text} NOT NULL, kind {text}, ref {text},
    neighbourhood {text}, contributor {text}, may_contact bigint, since {text});
CREATE UNIQUE INDEX IF NOT EXISTS process_things_0_key ON process_things_0 (force, place, id);
CREATE INDEX IF NOT EXISTS process_things_0_id ON process_things_0 (id);
CREATE TABLE IF NOT EXISTS process_edges_0 (
    force {text} NOT NULL, place {text} NOT NULL, effect {text} NOT NULL, cause {text} NOT NULL,
    relation {text} NOT NULL, position bigint NOT NULL, grouped {text});
CREATE UNIQUE INDEX IF NOT EXISTS process_edges_0_key
    ON process_edges_0 (force, place, effect, cause, relation, position);
CREATE INDEX IF NOT EXISTS process_edges_0_cause ON process_edges_0 (cause);
CREATE INDEX IF NOT EXISTS process_edges_0_effect ON process_edges_0 (effect);
CREATE TABLE IF NOT EXISTS process_facts_0 (
    force {text} NOT NULL, place {text} NOT NULL, id {text} NOT NULL, thing {text}, moves bigint,
    decides bigint, tells bigint, audience {text}, subject {text}, digest {text}, known_at {text},
    position bigint, correlation {text}, again bigint, since {text});
CREATE UNIQUE INDEX IF NOT EXISTS process_facts_0_key ON process_facts_0 (force, place, id);
CREATE INDEX IF NOT EXISTS process_facts_0_thing ON process_facts_0 (thing);
CREATE TABLE IF NOT EXISTS process_cases_0 (
    force {text} NOT NULL, place {text} NOT NULL, rule {text} NOT NULL, about {text} NOT NULL,
    met_id {text}, met_digest {text}, met_known_at {text}, met_position bigint, met_correlation {text},
    met_since {text}, ended_correlation {text}, ended_since {text}, ended_id {text}, ended_digest {text},
    ended_known_at {text}, ended_position bigint);
CREATE UNIQUE INDEX IF NOT EXISTS process_cases_0_key ON process_cases_0 (force, place, rule, about);
CREATE INDEX IF NOT EXISTS process_cases_0_about ON process_cases_0 (about);
CREATE TABLE IF NOT EXISTS process_owed_0 (
    force {text} NOT NULL, place {text} NOT NULL, rule {text} NOT NULL, about {text} NOT NULL,
    start_id {text} NOT NULL, digest {text}, known_at {text}, position bigint, correlation {text},
    again bigint, since {text}, opened bigint, discharged bigint, lapsed bigint);
CREATE UNIQUE INDEX IF NOT EXISTS process_owed_0_key
    ON process_owed_0 (force, place, rule, about, start_id);
CREATE INDEX IF NOT EXISTS process_owed_0_about ON process_owed_0 (about);
"""


def upgrade() -> None:
    """Make the tables. Text sorts by its bytes, whatever the database's locale."""
    for statement in _STATEMENTS.format(text='text COLLATE "C"').split(";"):
        if statement.strip():
            op.execute(statement)
