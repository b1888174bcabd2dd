"""Which verbs has the program, and what does each do? One function each; the work is in `services`."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError

from domain.errors import ConfigurationError, HeardError
from domain.values import instant
from infra import scenario
from infra.cli import feeding, health, keeping, restoring
from infra.cli.output import Format, chosen, colour, complain, emit, say, write
from infra.cli.session import Session
from infra.errors import USAGE, exit_code
from infra.logging import configure
from infra.picture import svg, terminal
from infra.settings import read_settings

app = typer.Typer(
    name="heard",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Heard keeps a tamper-evident record of what communities told the police and what came of it.",
)
FormatOption = Annotated[Format | None, typer.Option("--format", help="table, json or csv.")]
At = Annotated[str | None, typer.Option("--at", help="As known at a date or an instant.")]
RecordedAt = Annotated[
    str | None, typer.Option("--recorded-at", help="As Heard had written by a date or an instant.")
]


class Status(StrEnum):
    """What became of a dead letter."""

    open = "open"
    retried = "retried"
    discarded = "discarded"


class TraceFormat(StrEnum):
    """The forms of a thread."""

    table = "table"
    json = "json"
    svg = "svg"


@app.callback()
def _start(
    ctx: typer.Context,
    # Text, since as a path an empty name could not be told from the current folder.
    dir_: Annotated[str | None, typer.Option("--dir", metavar="PATH", help="The data directory.")] = None,
    now: Annotated[str | None, typer.Option("--now", help="Fix the clock: a date or an instant.")] = None,
) -> None:
    settings = read_settings(dir=dir_)
    configure(settings.log_format, settings.log_level)
    ctx.obj = Session(settings, None if now is None else _clock(now))
    ctx.obj.makes = ctx.invoked_subcommand in ("demo", "publish", "consume", "migrate")
    ctx.call_on_close(ctx.obj.close)


def _clock(text: str) -> datetime:
    try:
        return datetime.fromisoformat(instant(text if len(text) > 10 else f"{text}T00:00:00Z"))
    except ValueError:
        raise typer.BadParameter(
            "expected a date (2009-03-01) or an instant (2009-03-01T12:00:00Z)", param_hint="--now"
        ) from None


@app.command()
def demo(
    ctx: typer.Context,
    print_: Annotated[bool, typer.Option("--print", help="Only write the scenario's messages.")] = False,
) -> None:
    """Do the whole job on the bundled scenario: publish, consume, trace.

    Example: heard demo
    """
    session: Session = ctx.obj
    if print_:
        for line in scenario.lines():
            write(line.encode())
        return
    session.now = session.now or scenario.CLOCK
    feeding.demonstrate(session)


@app.command()
def publish(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="NDJSON messages; - reads stdin.")],
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Send the good lines, write the rest to FILE.rejected.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, send nothing.")] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send each line's bytes as they are.")
    ] = False,
    form: FormatOption = None,
) -> None:
    """Put messages on the inbox: all lines are checked first, and nothing is sent if one is wrong.

    Example: heard publish messages.ndjson
    """
    answer = feeding.publish(ctx.obj, file, skip_invalid=skip_invalid, dry_run=dry_run, unchecked=unchecked)
    emit(answer, chosen(form), rows="rejected" if answer["rejected"] else "none")
    if answer["rejected"] and not (skip_invalid and not dry_run):
        raise typer.Exit(1)


@app.command("import")
def import_(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="polis, open311 or police-uk.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of that format.")],
    force: Annotated[str, typer.Option("--force", help="The police force's id.")],
    neighbourhood: Annotated[str, typer.Option("--neighbourhood", help="The neighbourhood's id.")],
    source: Annotated[str | None, typer.Option("--source", help="The messages' source.")] = None,
) -> None:
    """Turn files of a known format into messages on stdout.

    Example: heard import open311 requests.json --force met --neighbourhood n1
    """
    feeding.import_(kind, files, force=force, neighbourhood=neighbourhood, source=source)


@app.command()
def consume(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="intake, sequencer, projector, processes.")
    ] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is left to do.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", min=0, max=65_535, help="Serve /metrics here."),
    ] = None,
) -> None:
    """Run the loops: intake, sequencer, projector and processes, or those that are named.

    Example: heard consume --until-idle
    """
    feeding.consume(ctx.obj, names, until_idle=until_idle, metrics_port=metrics_port)


@app.command()
def trace(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A reference or an id.")],
    forward: Annotated[bool, typer.Option("--forward", help="Only what came of it.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Only what it came from.")] = False,
    at: At = None,
    recorded_at: RecordedAt = None,
    form: Annotated[TraceFormat | None, typer.Option("--format", help="table, json or svg.")] = None,
) -> None:
    """Follow an input forward to what came of it, and an outcome back to where it came from.

    Example: heard trace C1 --forward
    """
    questions = ctx.obj.questions
    both = forward == back
    answer = questions.trace(
        name, questions.moment(at, recorded_at, about=name), forward=forward or both, back=back or both
    )
    match chosen(form):
        case "svg":
            write(svg(answer, title=f"What came of {answer['root']}").encode())
        case "table":
            width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 120)
            sys.stdout.write(terminal(answer, width=width, colour=colour()) + "\n")
        case _:
            emit(answer, "json")


@app.command()
def log(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="ID")], form: FormatOption = None
) -> None:
    """Every event of a thing, with its three times, causes and digest.

    Example: heard log P2
    """
    emit(ctx.obj.questions.log(name), chosen(form), rows="events")


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID")],
    at: At = None,
    form: FormatOption = None,
) -> None:
    """The fields of a thing as they stand, or stood at a date.

    Example: heard show D1 --at 2008-11-30
    """
    questions = ctx.obj.questions
    emit(questions.show(name, questions.moment(at, None, about=name)), chosen(form))


@app.command()
def replay(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="ID")], form: FormatOption = None
) -> None:
    """The rebuild of a thing, event by event, with the state after each.

    Example: heard replay N1
    """
    emit(ctx.obj.questions.replay(name), chosen(form), rows="steps")


@app.command()
def query(
    ctx: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="See `heard views list`.")],
    where: Annotated[
        list[str] | None, typer.Option("--where", help="COLUMN=VALUE; repeat to narrow.")
    ] = None,
    at: At = None,
    recorded_at: RecordedAt = None,
    form: FormatOption = None,
) -> None:
    """The rows of a read model, now or as at a date.

    Example: heard query feedback_owed --where owed=never_told
    """
    answer = _answer(ctx.obj, view, where, at, recorded_at)
    emit(answer, chosen(form), columns=ctx.obj.installation.views.views[view].columns)


def _answer(
    session: Session, view: str, where: list[str] | None, at: str | None, recorded_at: str | None
) -> dict[str, Any]:
    wanted: dict[str, str] = {}
    for pair in where or ():
        column, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"expected COLUMN=VALUE, got {pair}", param_hint="--where")
        if wanted.get(column, value) != value:
            raise typer.BadParameter(f"{column} is asked for twice, with two values", param_hint="--where")
        wanted[column] = value
    questions = session.questions
    answer: dict[str, Any] = questions.query(
        view, wanted, questions.moment(at, recorded_at, wanted.get("force"))
    )
    return answer


@app.command()
def export(
    ctx: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW")],
    out: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    where: Annotated[list[str] | None, typer.Option("--where", help="COLUMN=VALUE.")] = None,
    at: At = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="csv or json; else by the file's ending.")
    ] = None,
) -> None:
    """Write a read model to a file, and its data dictionary beside it.

    Example: heard export inputs -o inputs.csv
    """
    answer = _answer(ctx.obj, view, where, at, None)
    keeping.export(answer, ctx.obj.installation.views.views[view], out, form)


@app.command()
def doctor(ctx: typer.Context, form: FormatOption = None) -> None:
    """Look whether everything is as it should be; each failure names its remedy.

    Example: heard doctor
    """
    answer, errors = health.examine(ctx.obj)
    if chosen(form) == "table":
        say("  ".join(f"{name} {count}" for name, count in answer["messages"].items()))
    emit(answer, chosen(form), rows="checks")
    for error in sorted(errors, key=exit_code)[-1:]:
        raise error
    if not answer["ok"]:
        raise typer.Exit(1)


@app.command()
def erase(
    ctx: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="REF", help="A person's reference, or a thing's.")],
    force: Annotated[str | None, typer.Option("--force", help="Where several forces know it.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Where several sources know it.")] = None,
    form: FormatOption = None,
) -> None:
    """Erase the personal data of a person, or the words of a thing; every proof stays valid.

    Example: heard erase person-17
    """
    emit(keeping.erase(ctx.obj, ref, force=force, source=source), chosen(form))


@app.command()
def migrate(ctx: typer.Context, form: FormatOption = None) -> None:
    """Make or renew the tables and roles on PostgreSQL; safe to repeat. Run it as the database's owner.

    Example: heard migrate
    """
    emit(keeping.migrate(ctx.obj), chosen(form))


@app.command()
def restore(
    ctx: typer.Context,
    hash_only: Annotated[
        bool, typer.Option("--hash-only", help="Change nothing; hash what is there.")
    ] = False,
    form: FormatOption = None,
) -> None:
    """Rebuild event store, duties and read models from topics and key store, into empty databases.

    Example: heard restore
    """
    answer = restoring.hashes(ctx.obj) if hash_only else restoring.restore(ctx.obj)
    if chosen(form) == "table":
        say("{count} events up to position {position}: {sha256}".format(**answer["events"]))
    emit(answer, chosen(form), rows="views")


views = typer.Typer(no_args_is_help=True, help="Read models: list, rebuild, compare.")
dead_letters = typer.Typer(no_args_is_help=True, help="Messages that cannot be used.")
parked = typer.Typer(no_args_is_help=True, help="Messages that wait for something not yet seen.")
topics = typer.Typer(no_args_is_help=True, help="Topics on the Kafka cluster.")
schema = typer.Typer(no_args_is_help=True, help="The catalogue of event types.")
app.add_typer(views, name="views")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(parked, name="parked")
app.add_typer(topics, name="topics")
app.add_typer(schema, name="schema")


@views.command("list")
def views_list(ctx: typer.Context, form: FormatOption = None) -> None:
    """Every read model with its columns, position, lag and version.

    Example: heard views list
    """
    emit(keeping.views_list(ctx.obj), chosen(form))


@views.command("rebuild")
def views_rebuild(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="VIEW", help="All, if none is named.")] = None,
) -> None:
    """Build read models anew beside the live ones, and swap.

    Example: heard views rebuild inputs
    """
    keeping.views_rebuild(ctx.obj, names)


@views.command("compare")
def views_compare(
    ctx: typer.Context, view: Annotated[str, typer.Argument(metavar="VIEW")], form: FormatOption = None
) -> None:
    """Build a read model anew and compare it with the live one; exit 1 if they differ.

    Example: heard views compare inputs
    """
    answer = keeping.views_compare(ctx.obj, view)
    emit(answer, chosen(form))
    if not answer["equal"]:
        raise typer.Exit(1)


@dead_letters.command("list")
def dead_list(
    ctx: typer.Context,
    status: Annotated[Status | None, typer.Option("--status", help="open, retried or discarded.")] = None,
    form: FormatOption = None,
) -> None:
    """Every dead letter, with its code, field and reason.

    Example: heard dead-letters list
    """
    emit(keeping.dead_list(ctx.obj, status), chosen(form))


@dead_letters.command("show")
def dead_show(
    ctx: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")], form: FormatOption = None
) -> None:
    """One dead letter with the body as it came.

    Example: heard dead-letters show ID
    """
    emit(keeping.dead_show(ctx.obj, id_), chosen(form))


@dead_letters.command("retry")
def dead_retry(
    ctx: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")], form: FormatOption = None
) -> None:
    """Handle the same message again, once what stood in its way is gone.

    Example: heard dead-letters retry ID
    """
    answer = keeping.dead_retry(ctx.obj, id_)
    emit(answer, chosen(form))
    if answer["status"] == "open":
        raise typer.Exit(1)


@dead_letters.command("discard")
def dead_discard(
    ctx: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option("--reason", help="Why it is set aside for good.")],
    form: FormatOption = None,
) -> None:
    """Set a dead letter aside for good; the reason becomes part of the record.

    Example: heard dead-letters discard ID --reason "sent twice by mistake"
    """
    emit(keeping.dead_discard(ctx.obj, id_, reason), chosen(form))


@parked.command("list")
def parked_list(ctx: typer.Context, form: FormatOption = None) -> None:
    """Every parked message, and what it waits for.

    Example: heard parked list
    """
    emit(keeping.parked_list(ctx.obj), chosen(form))


@topics.command("create")
def topics_create(
    ctx: typer.Context,
    partitions: Annotated[int, typer.Option("--partitions", min=1, help="Of each topic, for ever.")] = 12,
    form: FormatOption = None,
) -> None:
    """Create Heard's topics on the Kafka cluster, and say what differs from what is there.

    Example: heard topics create
    """
    answer = keeping.topics_create(ctx.obj, partitions)
    emit(answer, chosen(form))
    if any(row["differs"] for row in answer["rows"]):
        raise typer.Exit(1)


@topics.command("rights")
def topics_rights(
    ctx: typer.Context,
    create: Annotated[bool, typer.Option("--create", help="Give them on the cluster as well.")] = False,
    form: FormatOption = None,
) -> None:
    """What each service's principal may do on the Kafka cluster, and no more.

    Example: heard topics rights
    """
    emit(keeping.topics_rights(ctx.obj, create=create), chosen(form))


@schema.command("list")
def schema_list(form: FormatOption = None) -> None:
    """Every event type, and who may report it.

    Example: heard schema list
    """
    emit(keeping.schema_list(), chosen(form))


@schema.command("show")
def schema_show(
    type_: Annotated[str, typer.Argument(metavar="TYPE")],
) -> None:
    """The JSON Schema of a message of this type.

    Example: heard schema show heard.concern.raised.v1
    """
    emit(keeping.schema_show(type_), "json")


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit code: 0 ok, 1 a finding, 2 wrong use, 3 the environment."""
    arguments = sys.argv[1:] if argv is None else argv
    form = _asked_form(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the character still gets the rest
    try:
        _are_text(arguments)
        result = app(args=arguments, prog_name="heard", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except HeardError as error:
        complain(error, form)
        return exit_code(error)
    except typer.Abort:
        return USAGE
    except NoArgsIsHelpError as error:
        say(error.format_message())
        return USAGE
    except ClickException as error:
        wrong = HeardError(
            error.format_message(), code="usage", expected="a call as --help shows it",
            got=" ".join(arguments)[:200], hint=f"{_verb(error)} --help",
        )  # fmt: skip
        complain(wrong, form)
        return USAGE
    except (BrokenPipeError, SystemExit) as error:
        # The reader of our pipe had enough; the library tells it by a SystemExit, whose context is
        # the error of the pipe. Whatever else asks for an end gets it, with its own code.
        pipe = error.__context__ if isinstance(error, SystemExit) else error
        if not (isinstance(pipe, OSError) and pipe.errno == errno.EPIPE):
            raise
        # What is still in hand goes nowhere, so that nothing complains of it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        failed = ConfigurationError(
            "what there is to say cannot be written", expected="a stdout that takes it",
            got=error.strerror or type(error).__name__, hint="look whether the disk is full",
        )  # fmt: skip
        complain(failed, form)
        return exit_code(failed)


def _verb(error: ClickException) -> str:
    """The call, without its arguments, whose help says what was wrong: `heard views rebuild`."""
    at = error.ctx if isinstance(error, UsageError) else None
    return at.command_path if at else "heard"


def _are_text(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            # Python has each byte that is not UTF-8 as U+DC00 and the byte: shown as the byte alone.
            shown = argument.encode(errors="backslashreplace").decode().replace("\\udc", "\\x")
            raise HeardError(
                "an argument is not UTF-8", code="usage", expected="arguments in UTF-8", got=shown[:200],
                hint="give it in UTF-8, and a file of such a name another name",
            ) from None  # fmt: skip


def _asked_form(arguments: list[str]) -> str:
    for at, argument in enumerate(arguments):
        given = argument.partition("=")[2] if argument.startswith("--format=") else ""
        if argument == "--format" and at + 1 < len(arguments):
            given = arguments[at + 1]
        if given in (*Format, *TraceFormat):
            return given
    return chosen(None)
