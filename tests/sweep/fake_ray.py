"""The part of Ray's public interface that the executor uses, in one process: actors and tasks are threads."""

import concurrent.futures
import importlib.machinery
import itertools
import threading
import types


class RayError(Exception):
    """Of the engine: a node or a worker is gone."""


class RayTaskError(RayError):
    """Of a task itself."""


class GetTimeoutError(RayError):
    """There is no answer yet."""


class Cluster:
    """A cluster of nodes with these resources, and what its driver sees as the module `ray`."""

    def __init__(self, *resources):
        self.resources, self.actors, self.groups, self.addresses = resources, {}, {}, []
        self.options, self.failures = [], {}  # of each actor and task; of tasks, by the name of their function
        self._pool = concurrent.futures.ThreadPoolExecutor(16)
        self.init = lambda address, **_: self.addresses.append(address)

    def module(self):
        ray, util = types.ModuleType("ray"), types.ModuleType("ray.util")
        ray.__spec__ = importlib.machinery.ModuleSpec("ray", None)
        ray.init = lambda **given: self.init(**given)
        ray.remote = lambda *function, **options: self._remote(*function) if function else self._remote
        ray.get, ray.wait = self._get, self._wait
        ray.get_actor, ray.kill, ray.cancel = self._get_actor, self._kill, lambda ref, force: ref.cancel()
        ray.nodes = lambda: [
            {"NodeID": str(number), "NodeManagerHostname": f"n{number}", "Alive": True, "Resources": each}
            for number, each in enumerate(self.resources)
        ]
        ray.exceptions = types.SimpleNamespace(
            RayError=RayError, RayTaskError=RayTaskError, GetTimeoutError=GetTimeoutError
        )
        ray.util, strategies = util, types.ModuleType("ray.util.scheduling_strategies")
        util.list_named_actors = lambda: list(self.actors)
        util.get_node_ip_address = lambda: "127.0.0.1"
        util.placement_group = lambda bundles, name, **_: self.groups.update({name: bundles})
        util.get_placement_group = self._group
        util.remove_placement_group = self._remove_group
        strategies.NodeAffinitySchedulingStrategy = lambda node, soft: node
        strategies.PlacementGroupSchedulingStrategy = lambda group, placement_group_bundle_index: (
            group,
            placement_group_bundle_index,
        )
        return {"ray": ray, "ray.util": util, "ray.util.scheduling_strategies": strategies}

    def _remote(self, what):
        call = self._actor if isinstance(what, type) else self._task
        bound = types.SimpleNamespace(remote=lambda *arguments: call(what, {}, *arguments))
        bound.options = lambda **options: types.SimpleNamespace(remote=lambda *args: call(what, options, *args))
        return bound

    def _task(self, function, options, *arguments):
        self.options.append(options)
        failures = self.failures.get(function.__name__, [])
        if not failures:
            return self._pool.submit(function, *arguments)
        future = concurrent.futures.Future()  # a task that is lost with its node writes nothing more
        future.set_exception(failures.pop(0))
        return future

    def _actor(self, cls, options, *arguments):
        self.options.append(options)
        actor = object.__new__(cls)
        handle = _Handle(self, actor, options["name"])
        self.actors[options["name"]] = handle
        actor.__init__(*arguments)
        return handle

    def _get(self, what, timeout=None):
        if isinstance(what, list):
            return [self._get(each) for each in what]
        try:
            return what.result(timeout)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as error:
            raise GetTimeoutError from error

    def _wait(self, futures, num_returns=1, timeout=None):
        when = concurrent.futures.ALL_COMPLETED if num_returns > 1 else concurrent.futures.FIRST_COMPLETED
        done = concurrent.futures.wait(futures, timeout, when)[0]
        ready = list(itertools.islice((each for each in futures if each in done), num_returns))
        return ready, [each for each in futures if each not in ready]

    def _get_actor(self, name):
        if name not in self.actors:
            raise ValueError(name)
        return self.actors[name]

    def _kill(self, handle):
        is_main = threading.current_thread() is threading.main_thread()
        if is_main or not self.options[-1].get("scheduling_strategy"):
            self.actors.pop(handle.name, None)
        # Else Ray has ended this actor with its group, and tries to start it again.

    def _group(self, name):
        if name not in self.groups:
            raise ValueError(name)
        return name

    def _remove_group(self, name):
        self.groups.pop(name, None)


class _Handle:
    def __init__(self, cluster, actor, name):
        self._cluster, self._actor, self.name = cluster, actor, name

    def __getattr__(self, method):
        call = getattr(self._actor, method)
        return types.SimpleNamespace(remote=lambda *arguments: self._cluster._pool.submit(call, *arguments))
