"""All commands of `millrace`; one file, since each is little more than its options.

Each imports what it needs, so that `--help` is quick. Every command has `--json`.
"""

# ruff: noqa: PLC0415, FBT002  (imports inside commands make --help quick; options are flags)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

_TIME: Final = "2026-11-21T06:00 (UTC), or 30m, 2h, 7d ago."

app = typer.Typer(
    name="millrace",
    help="Keeps predictive-maintenance models right while the machines they watch change.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
predictions_app = typer.Typer(help="Forecasts, with their provenance.", no_args_is_help=True)
drift_app = typer.Typer(help="What the drift detectors found.", no_args_is_help=True)
models_app = typer.Typer(help="The model registry.", no_args_is_help=True)
topics_app = typer.Typer(help="The declared Kafka topics.", no_args_is_help=True)
dead_letters_app = typer.Typer(
    help="Records that could not be used, and how to mend them.", no_args_is_help=True
)
app.add_typer(predictions_app, name="predictions")
app.add_typer(drift_app, name="drift")
app.add_typer(models_app, name="models")
app.add_typer(topics_app, name="topics")
archive_app = typer.Typer(help="The archive in the object store.", no_args_is_help=True)
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(archive_app, name="archive")

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Asset = Annotated[str | None, typer.Option("--asset", "-a", help="Only of this asset.")]
Assets = Annotated[
    list[str] | None, typer.Option("--asset", "-a", help="Only of this asset; repeatable.")
]
ArrivedFrom = Annotated[
    str | None, typer.Option("--from", help=f"Only windows that arrived since then: {_TIME}")
]
ArrivedUntil = Annotated[
    str | None, typer.Option("--until", help="Only windows that arrived before this.")
]
Reason = Annotated[str | None, typer.Option(help="Only with this reason.")]
Since = Annotated[
    str | None,
    typer.Option(help=f"Only those refused since then: {_TIME}"),
]


@app.command()
def up(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="dataset.toml files, or 'fleet', whose models to declare."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start everything and leave it running until Ctrl-C."""
    from millrace.console.cli.missing_modules import require_everything

    require_everything()
    from millrace.console.cli.up import run_up

    run_up(datasets or [], as_json=as_json)


@app.command()
def demo(
    dataset: Annotated[
        str, typer.Argument(help="A dataset.toml, or 'fleet', the simulated one.")
    ] = "fleet",
    kill: Annotated[
        str,
        typer.Option(
            help="Kill programs on the way: [bold]inference@0.3,trainer@0.7[/bold] kills each"
            " when that share of the replay is predicted."
        ),
    ] = "",
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Windows per second of the replay, on average.",
            show_default="25 for each asset, 120 at most",
        ),
    ] = None,
    training_rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="The same while a training run is in progress.",
            show_default="a window of each asset every 3 s",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole loop: drift, retraining, gate, swap, recovery; ends by itself."""
    from millrace.console.cli.missing_modules import require_everything
    from millrace.console.demo.kills import parse_kills

    kills = parse_kills(kill)
    require_everything()
    from millrace.console.demo.command import run_demo

    run_demo(
        dataset,
        kills=kills,
        rate=rate,
        training_rate=training_rate,
        as_json=as_json,
    )


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what runs, which versions serve, and how far everybody is."""
    from millrace.console.cli.status import show_status

    show_status(as_json=as_json)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def edge(context: typer.Context) -> None:
    """Send windows of readings: recorded, simulated, or this machine's own."""
    from millrace.console.cli.edge import edge as edge_app

    if context.args and not {"-h", "--help"} & set(context.args):
        from millrace.infra.local.address import enter_running_system

        # A live source keeps measuring, and buffers its windows until a broker is available.
        enter_running_system(must_answer=context.args[0] != "host")
    edge_app(args=context.args, prog_name="millrace edge")


@predictions_app.command("tail")
def predictions_tail(
    asset: Asset = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Wait for new ones.")
    ] = False,
    count: Annotated[int, typer.Option("-n", min=0, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Print the last predictions, and with --follow each new one."""
    from millrace.console.cli.predictions import tail

    tail(asset, count, follow=follow, as_json=as_json)


@drift_app.command("list")
def drift_list(
    asset: Asset = None,
    signal_kind: Annotated[
        str | None, typer.Option("--signal", help="input, error, skill or serving.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=0, help="How many; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print the last drift alerts."""
    from millrace.console.cli.drift import list_alerts

    list_alerts(asset, signal_kind, count, as_json=as_json)


@models_app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Print all models and versions."""
    from millrace.console.cli.models import list_models

    list_models(as_json=as_json)


@models_app.command("declare")
def models_declare(
    dataset: Annotated[str, typer.Argument(help="A dataset.toml, or 'fleet'.")],
    as_json: AsJson = False,
) -> None:
    """Declare the model of a dataset; persistence serves until a training beats it."""
    from millrace.console.cli.models import declare

    declare(dataset, as_json=as_json)


@models_app.command("train")
def models_train(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    as_json: AsJson = False,
) -> None:
    """Ask for a training; the gate decides whether its result serves."""
    from millrace.console.cli.models import train_model

    train_model(model, as_json=as_json)


@topics_app.command("list")
def topics_list(as_json: AsJson = False) -> None:
    """Print the declared topics."""
    from millrace.console.cli.topics import list_topics

    list_topics(as_json=as_json)


@topics_app.command("create")
def topics_create(as_json: AsJson = False) -> None:
    """Create the topics that are not there."""
    from millrace.console.cli.topics import create_all

    create_all(as_json=as_json)


@topics_app.command("grow")
def topics_grow(
    partitions: Annotated[int, typer.Argument(min=1, help="How many each topic is to have.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give all topics keyed by asset more partitions.

    Where an edge chooses the partition by the asset's name, an asset may move to another one,
    where its detectors and joins begin anew: see docs/operations.md before.
    """
    from millrace.console.cli.topics_grow import grow_topics

    grow_topics(partitions, dry_run=dry_run, as_json=as_json)


@app.command()
def replay(
    arrived_from: ArrivedFrom = None,
    arrived_until: ArrivedUntil = None,
    asset: Assets = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option(help="Only PARTITION:FIRST-UNTIL of sensor.windows; repeatable."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="as-served (each window on the version that served it), active, a version's"
            " number, or MODEL@NUMBER."
        ),
    ] = "as-served",
    to: Annotated[
        str | None,
        typer.Option(help="Where predictions go: TOPIC, FILE.parquet or s3://bucket/prefix."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare with what was published; status 1 on a difference."),
    ] = False,
    what_if_drift: Annotated[
        bool,
        typer.Option(
            "--what-if-drift", help="Show which alerts other detectors would have raised."
        ),
    ] = False,
    inputs: Annotated[
        str | None,
        typer.Option(help="Their detectors of inputs, as PageHinkley(threshold=9)."),
    ] = None,
    error: Annotated[str | None, typer.Option(help="Those of a forecast's error.")] = None,
    skill: Annotated[str | None, typer.Option(help="Those of its skill.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the measured speed only.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Most processes.", show_default="one less than cores"),
    ] = None,
    full_speed: Annotated[
        bool,
        typer.Option(
            "--full-speed", help="Compete with live services for this machine's processors."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a stretch of the past, from the archive and the topics, beside the live system.

    The same command continues a replay that was ended, and writes nothing twice.
    """
    from millrace.console.cli import replay as replays

    request = replays.request_of(arrived_from, arrived_until, asset or [], offsets or [], model)
    if what_if_drift:
        from millrace.console.cli.what_if import what_if_drift as with_others

        with_others(request, inputs=inputs, error=error, skill=skill, as_json=as_json)
        return
    if verify:
        replays.verify(request, processes=processes, full_speed=full_speed, as_json=as_json)
        return
    replays.replay(
        request,
        to,
        dry_run=dry_run,
        processes=processes,
        full_speed=full_speed,
        as_json=as_json,
    )


@app.command()
def score(
    dataset: Annotated[str, typer.Argument(help="A dataset.toml, or 'fleet'.")],
    to: Annotated[str, typer.Option(help="FILE.parquet or s3://bucket/prefix.")],
    model: Annotated[
        str, typer.Option(help="MODEL@NUMBER, a version's number, or active.")
    ] = "active",
    as_json: AsJson = False,
) -> None:
    """Predict all windows of a recording with a version, without sending them anywhere."""
    from millrace.console.cli.score import score as score_recording

    score_recording(dataset, model, to, as_json=as_json)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="MODEL@NUMBER, a number, active or persistence.")],
    b: Annotated[str, typer.Argument(help="The same of the version that may be better.")],
    arrived_from: ArrivedFrom = None,
    arrived_until: ArrivedUntil = None,
    asset: Assets = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with a plot to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions on the same past windows, by what was measured later."""
    from millrace.console.cli.compare import compare as compare_two
    from millrace.console.cli.replay import request_of

    request = request_of(arrived_from, arrived_until, asset or [], [], "as-served")
    compare_two(a, b, request, html, as_json=as_json)


@archive_app.command("ls")
def archive_ls(
    topic: Annotated[str | None, typer.Argument(help="Only this topic.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print what the archive holds, by topic and partition."""
    from millrace.console.cli.archive import list_archive

    list_archive(topic, as_json=as_json)


@archive_app.command("verify")
def archive_verify(
    topic: Annotated[str | None, typer.Argument(help="Only this topic.")] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Do not compare its end with the topics.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read the whole archive; ends with status 1 if a record is missing, doubled or altered."""
    from millrace.console.cli.archive import verify

    verify(topic, alone=alone, as_json=as_json)


@archive_app.command("export")
def archive_export(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    file: Annotated[
        Path, typer.Option("--to", help="The file: a name that ends in .parquet or .csv.")
    ],
    since: Annotated[
        str | None,
        typer.Option("--from", help=f"Only records with a Kafka timestamp since then: {_TIME}"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only records with a Kafka timestamp before then.")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a topic's records into a file, decoded: a column for each field of the events.

    A record that cannot be decoded has a row, too, with the reason and the original bytes.
    """
    from millrace.console.cli.archive import export

    export(topic, file, since=since, until=until, partition=partition, as_json=as_json)


@dead_letters_app.command("list")
def dead_letters_list(
    reason: Reason = None,
    asset: Asset = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Print the last dead letters, what became of them, and how many there are by reason.

    A letter is [bold]open[/bold] until its record is sent again; then it is
    [bold]mended[/bold], if that record was taken, or just [bold]sent again[/bold], if it was
    refused again: then there is a later letter. Those that inference wrote are
    [bold]final[/bold]: `show` says why.
    """
    from millrace.console.cli.dead_letters.listing import list_letters

    list_letters(reason, asset, since, limit, as_json=as_json)


@dead_letters_app.command("show")
def dead_letters_show(
    ref: Annotated[str, typer.Argument(help="A letter: partition:offset, as the list has it.")],
    raw: Annotated[
        str | None,
        typer.Option(help="Write the original bytes of the value there instead; - for stdout."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print everything about a dead letter: why, where from, headers, readings."""
    from millrace.console.cli.dead_letters.show import show_letter

    show_letter(ref, raw, as_json=as_json)


@dead_letters_app.command("retry")
def dead_letters_retry(
    refs: Annotated[
        list[str] | None, typer.Argument(help="Letters: partition:offset, as the list has them.")
    ] = None,
    reason: Reason = None,
    asset: Asset = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    value: Annotated[
        str | None,
        typer.Option(help="Send the bytes of this file instead (one letter); - for stdin."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Send this key, the asset's name, instead (one letter).")
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(help="Send this content-type instead (one letter).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be sent.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused records again, to the partition that they came from.

    Letters that are chosen by --reason, --asset, --since or --all are sent if they are open
    and would be taken now; letters that are named are sent in any case. Nothing can take
    effect twice: of all records that come of one refused record, one is taken.
    """
    from millrace.console.cli.dead_letters.retry import retry_letters

    retry_letters(
        refs or [],
        every=every,
        reason=reason,
        asset=asset,
        since=since,
        value=value,
        key=key,
        content_type=content_type,
        dry_run=dry_run,
        as_json=as_json,
    )
