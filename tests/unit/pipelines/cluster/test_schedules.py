"""Recurring runs, and the cron lines that they follow."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standins.kfp_api import KfpApi
from standins.server import Answer, Fault

import maskline
from maskline.errors import ClusterError, JobError
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.cluster.cron import Cron

Write = Callable[[], Path]
Job = ImageInstanceSegmentationJob
WEDNESDAY = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def client(cluster_file: Write) -> maskline.Client:
    return maskline.Client(cluster_file())


def test_a_schedule_makes_nothing_up(client: maskline.Client, job: Job, kfp: KfpApi) -> None:
    made = client.schedules.create(job, "30 3 * * 1")
    (kept,) = kfp.schedules.values()
    assert kept.trigger.cron_schedule.cron == "0 30 3 * * 1"
    assert (kept.no_catchup, kept.max_concurrency, kept.mode) == (True, "1", "ENABLE")
    assert kept.runtime_config.parameters == {}
    assert kept.pipeline_spec["pipeline_spec"]["root"]
    assert made.schedule_id == kept.recurring_run_id
    assert made.next is not None
    assert (made.next.weekday(), made.next.hour, made.next.minute) == (0, 3, 30)


def test_what_is_asked_for_is_kept(client: maskline.Client, job: Job, kfp: KfpApi) -> None:
    path = "s3://bucket/[[ScheduledTime.2006-01-02]]/train"
    given = {"training_data": path, "data_version": "1"}
    made = client.schedules.create(job, "@daily", given, catchup=True, max_concurrency=3, paused=True)
    (kept,) = kfp.schedules.values()
    assert kept.runtime_config.parameters == given
    assert (kept.no_catchup, kept.max_concurrency, kept.mode) == (False, "3", "DISABLE")
    assert (made.enabled, made.next) == (False, None)


def test_from_the_first_to_the_last(client: maskline.Client, job: Job, kfp: KfpApi) -> None:
    ids = [client.schedules.create(job, cron).schedule_id for cron in ("0 1 * * *", "0 2 * * *")]
    assert [s.schedule_id for s in client.schedules.list()] == ids[::-1]
    client.schedules.pause(ids[0])
    assert [s.enabled for s in client.schedules.list()] == [True, False]
    client.schedules.resume(ids[0])
    assert [s.enabled for s in client.schedules.list()] == [True, True]
    client.schedules.delete(ids[1])
    assert [s.schedule_id for s in client.schedules.list()] == ids[:1]
    with pytest.raises(ClusterError, match="schedule .* is not there"):
        client.schedules.pause(ids[1])


def test_what_is_wrong_is_told_before_anything_is_made(
    client: maskline.Client, job: Job, kfp: KfpApi
) -> None:
    with pytest.raises(JobError, match="cron='0 3 \\* \\*' has 4 fields"):
        client.schedules.create(job, "0 3 * *")
    with pytest.raises(JobError, match=r"max_concurrency=11 is outside \[1, 10\]"):
        client.schedules.create(job, "0 3 * * *", max_concurrency=11)
    kfp.faults.append(Fault("POST .*/recurringruns$", Answer({"message": "no"}, 500)))
    with pytest.raises(ClusterError, match="the schedule: Kubeflow Pipelines answers 500"):
        client.schedules.create(job, "0 3 * * *")
    assert kfp.experiments == kfp.schedules == {}


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", "2026-11-25 12:01:00"),
        ("0 3 * * *", "2026-11-26 03:00:00"),
        ("0 0 3 * * *", "2026-11-26 03:00:00"),
        ("15 30 12 * * *", "2026-11-25 12:30:15"),
        ("*/20 * * * * *", "2026-11-25 12:00:20"),
        ("0 3 * * 1", "2026-11-30 03:00:00"),
        ("0 3 * * MON-WED", "2026-11-30 03:00:00"),
        ("0 3 1 * *", "2026-12-01 03:00:00"),
        ("0 3 1 * 5", "2026-11-27 03:00:00"),
        ("0 3 1 jan ?", "2027-01-01 03:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 22/1 * * *", "2026-11-25 22:00:00"),
        ("5,10 9-17/4 * * *", "2026-11-25 13:05:00"),
        ("@weekly", "2026-11-29 00:00:00"),
        ("@monthly", "2026-12-01 00:00:00"),
    ],
)
def test_the_next_time(cron: str, expected: str) -> None:
    assert f"{Cron.read(cron).next(WEDNESDAY):%Y-%m-%d %H:%M:%S}" == expected


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "has 0 fields; give five"),
        ("0 0 3 * * * 2026", "has 7 fields"),
        ("60 3 * * *", r"minute 60 is outside \[0, 59\]"),
        ("0 24 * * *", r"hour 24 is outside \[0, 23\]"),
        ("0 3 0 * *", r"day of the month 0 is outside \[1, 31\]"),
        ("0 3 * 13 *", r"month 13 is outside \[1, 12\]"),
        ("0 3 * * 7", r"day of the week 7 is outside \[0, 6\]"),
        ("0 3 * * funday", "day of the week funday is outside"),
        ("0 3 5-2 * *", "ranges go upwards"),
        ("*/0 3 * * *", "steps of at least 1"),
        ("0 x;y * * *", "'x;y' is no hour; give a number"),
        ("0 3 30 2 *", "never comes true: no such day in any year"),
        ("@every 1h", "has 2 fields"),
    ],
)
def test_lines_that_are_none(cron: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        Cron.read(cron)
