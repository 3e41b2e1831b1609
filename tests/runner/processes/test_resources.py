import asyncio

import pytest

from pipelines.runner.processes.resources import Capacity, CapacityClosed, Request


def test_threads_are_the_request_rounded_up() -> None:
    assert [Request(cpu=cpu).threads for cpu in (0.02, 1.0, 1.5, 8.0)] == [1, 1, 2, 8]


def run_tasks(capacity: Capacity, requests: dict[str, Request]) -> list[str]:
    """Everybody asks at once and holds for a few turns of the loop; returns what happened."""
    log: list[str] = []

    async def task(name: str, request: Request) -> None:
        async with capacity.hold(request):
            log.append(f"+{name}")
            for _ in range(5):
                await asyncio.sleep(0)
            log.append(f"-{name}")

    async def all_tasks() -> None:
        await asyncio.gather(*(task(name, request) for name, request in requests.items()))

    asyncio.run(asyncio.wait_for(all_tasks(), timeout=10))
    return log


def most_cpu_at_once(log: list[str], requests: dict[str, Request], largest: float) -> float:
    used = most = 0.0
    for line in log:
        cpu = min(requests[line[1:]].cpu, largest)
        used += cpu if line[0] == "+" else -cpu
        most = max(most, used)
    return most


def test_tasks_overlap_up_to_the_machines_cores_and_never_beyond() -> None:
    requests = {f"t{i}": Request(cpu=0.75) for i in range(7)}
    log = run_tasks(Capacity(cpu=2, memory=1e9), requests)
    assert len(log) == 14
    assert most_cpu_at_once(log, requests, 2) == 1.5


def test_memory_bounds_as_well() -> None:
    requests = {f"t{i}": Request(cpu=0.1, memory=6e8) for i in range(3)}
    log = run_tasks(Capacity(cpu=2, memory=1e9), requests)
    assert log == ["+t0", "-t0", "+t1", "-t1", "+t2", "-t2"]


def test_a_request_above_the_machine_runs_alone() -> None:
    log = run_tasks(Capacity(cpu=2, memory=1e9), {"big": Request(cpu=64), "small": Request(cpu=1)})
    assert log == ["+big", "-big", "+small", "-small"]


def test_many_tiny_requests_fit_together_in_spite_of_rounding() -> None:
    requests = {f"t{i}": Request(cpu=0.02) for i in range(100)}
    log = run_tasks(Capacity(cpu=2, memory=1e9), requests)
    assert [line[0] for line in log[:100]] == ["+"] * 100


def test_small_tasks_cannot_starve_a_large_one() -> None:
    requests = {"first": Request(cpu=1), "large": Request(cpu=2)}
    requests |= {f"s{i}": Request(cpu=1) for i in range(60)}
    log = run_tasks(Capacity(cpu=2, memory=1e9), requests)
    assert log.index("+large") < log.index("+s40")
    assert log.index("+large") > log.index("+s5")


def test_closing_refuses_those_who_wait_and_those_who_come() -> None:
    async def scenario() -> None:
        capacity = Capacity(cpu=1, memory=1e9)
        async with capacity.hold(Request()):
            waiting = asyncio.create_task(hold(capacity))
            await asyncio.sleep(0)
            capacity.close()
            with pytest.raises(CapacityClosed):
                await waiting
        with pytest.raises(CapacityClosed):
            await hold(capacity)

    async def hold(capacity: Capacity) -> None:
        async with capacity.hold(Request()):
            pass

    asyncio.run(asyncio.wait_for(scenario(), timeout=10))


def test_a_waiter_that_gives_up_leaves_its_place() -> None:
    async def scenario() -> list[str]:
        capacity, log = Capacity(cpu=1, memory=1e9), []

        async def hold(name: str) -> None:
            async with capacity.hold(Request()):
                log.append(name)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(hold(name)) for name in "abc"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return log

    assert asyncio.run(asyncio.wait_for(scenario(), timeout=10)) == ["a", "c"]


def test_every_large_one_is_let_through_after_sixteen_small_ones_not_only_the_first() -> None:
    requests = {"first": Request(cpu=1), "large-1": Request(cpu=2), "large-2": Request(cpu=2)}
    requests |= {f"s{i}": Request(cpu=1) for i in range(60)}
    log = run_tasks(Capacity(cpu=2, memory=1e9), requests)
    assert log.index("+large-2") == log.index("-large-1") + 1
    assert sum(line.startswith("+s") for line in log[: log.index("+large-1")]) == 16
