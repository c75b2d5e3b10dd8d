"""Owns one agent's process tree and ends it: on order, at the lease's end, with its worker, with its agent.

Stdlib only, and nothing of this package: the worker runs it as `python -I -S shim.py OPTIONS -- COMMAND`.
Two processes guard each other. The *guard* is what the worker starts; the *keeper* is its child and the parent of
the agent. Where the kernel allows it the keeper is process 1 of a PID namespace, so that its end is the end of
everything in it; elsewhere both are child subreapers, and whichever outlives the other ends what is left. Only
when both are killed in the same instant without a namespace does anything survive; `sweep` finds that.

Options, each with one value:
  --control FD   orders: `renew <boot time>`, `kill <grace seconds>`, `freeze`, `thaw`; its end ends the tree
  --report FD    takes one JSON line when every process is gone
  --worker FD    a pidfd of the worker; a copy of the control pipe leaked to another process then does no harm
  --deadline T   boot time (CLOCK_BOOTTIME, seconds) after which the tree may not live unless renewed; 0 = none
  --grace S      seconds between TERM and KILL when the shim itself is told to stop by a signal
  --isolation M  auto | privileged | user | none: the PID namespace as root, through a user namespace, or none
  --tag N        inherited by every process as its RLIMIT_RTTIME, by which `sweep` finds what remains
  --cwd DIR      where the command starts
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 1 << 14, 1 << 19
RLIMIT_RTTIME = 15
CLOCK_BOOTTIME, TFD_TIMER_ABSTIME = 7, 1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Once the agent itself has obeyed a TERM, its tools get this long to put their lock files away.
STRAGGLER_SECONDS = 0.25
# Between two scans of /proc while a tree is killed, growing: what hangs in the kernel can be waited for, not hurried.
ROUND_MS, LONGEST_ROUND_MS = 2, 250
# Between two scans the children alone are hunted for so long. Uses a whole core, so it is short.
CHASE_SECONDS = 0.02
LIBC = ctypes.CDLL(None, use_errno=True)


def boot_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def call(name: str, *arguments: object) -> int:
    result = int(getattr(LIBC, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


class Options:
    def __init__(self, arguments: list[str]) -> None:
        split = arguments.index("--")
        pairs = dict(zip(arguments[:split:2], arguments[1:split:2], strict=True))
        self.control, self.report, self.worker = (int(pairs[f"--{n}"]) for n in ("control", "report", "worker"))
        self.deadline = float(pairs["--deadline"])
        self.grace = float(pairs["--grace"])
        self.isolation = pairs["--isolation"]
        self.tag = int(pairs["--tag"])
        self.cwd = pairs["--cwd"]
        self.command = arguments[split + 1 :]


# -- namespaces --


def enter_namespace(isolation: str) -> None:
    """Make the next child process 1 of a new PID namespace. The user keeps his id: some agents refuse root."""
    if isolation == "privileged":
        call("unshare", CLONE_NEWPID)
        return
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWPID)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def mount_proc() -> None:
    """Show the namespace its own processes. Slave, not private: a file system unmounted outside goes here too."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_SLAVE, None)
    call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)


def works(isolation: str) -> bool:
    """Try it in a child: a process that has unshared its PID namespace cannot go back."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    with contextlib.suppress(OSError):
        enter_namespace(isolation)
        grandchild = os.fork()
        if grandchild:
            os._exit(os.waitpid(grandchild, 0)[1] != 0)
        mount_proc()
        os._exit(0)
    os._exit(1)


def choose(wanted: str) -> str:
    """The strongest isolation that works here, or the one asked for."""
    if wanted == "none" or wanted in ("privileged", "user"):
        return wanted
    return next((isolation for isolation in ("privileged", "user") if works(isolation)), "none")


# -- processes --


def descendants() -> list[int]:
    """Every living process below this one, oldest first; of a namespace's process 1: everything in it."""
    children: dict[int, list[int]] = {}
    dead = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs 5 ms of start-up
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(name))
            if state in (b"Z", b"X"):
                dead.add(int(name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        found += below
    return sorted(pid for pid in found if pid not in dead)


def children() -> list[int]:
    """Our own children, living or dead; none where the kernel does not list them."""
    with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:  # noqa: PTH123
        return [int(pid) for pid in file.read().split()]
    return []


def send(pid: int, number: int) -> None:
    """Signal a process that is ours: it cannot be reaped and its id reused before we look away."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        fd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


class Tree:
    """All processes below this one."""

    def __init__(self, whole_namespace: bool) -> None:
        self.whole_namespace = whole_namespace
        self.statuses: dict[int, int] = {}
        self.killed: set[int] = set()

    def reap(self, keep: int | None) -> bool:
        """Collect the dead, remember how `keep` ended; False when no child is left, which cannot be fooled."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == keep:
                self.statuses[pid] = status

    def signal(self, number: int) -> None:
        """To every process at once where the kernel can; a fork cannot slip through that."""
        if self.whole_namespace:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, number)
            return
        for pid in descendants():
            send(pid, number)

    def freeze(self) -> None:
        """STOP everything; what was forked meanwhile is caught in the next rounds."""
        seen: set[int] = set()
        for _ in range(5):
            found = set(descendants())
            if found <= seen:
                return
            seen |= found
            self.signal(signal.SIGSTOP)

    def end(self, keep: int | None = None) -> None:
        """Freeze, then KILL until the kernel says that no child is left. Frozen processes cannot re-fork."""
        if not self.reap(keep):
            return
        self.signal(signal.SIGSTOP)
        pause = 0
        while self.reap(keep):
            found = descendants()
            self.killed.update(found)
            if self.whole_namespace:
                self.signal(signal.SIGKILL)
            else:
                for number in (signal.SIGSTOP, signal.SIGKILL):
                    for pid in found:
                        send(pid, number)
                self._end_children(keep)
            pause = min(pause + ROUND_MS, LONGEST_ROUND_MS)
            select.poll().poll(pause)

    def _end_children(self, keep: int | None) -> None:
        """KILL whatever becomes our child, faster than it can fork.

        A process that forks and exits for ever is seldom still there when a scan of /proc has come to its signal.
        But its orphan is at once a child of ours, the list of which is one short file.
        """
        until = time.monotonic() + CHASE_SECONDS
        while self.reap(keep) and time.monotonic() < until:
            for pid in children():
                self.killed.add(pid)
                os.kill(pid, signal.SIGKILL)  # until we reap it, a child's id is nobody else's


# -- the keeper --


class _Timer(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns"))


class Keeper:
    """Parent of the agent: takes orders, counts the lease, ends the tree, reports."""

    def __init__(self, options: Options, guard: int, isolation: str) -> None:
        self.options, self.guard, self.isolation = options, guard, isolation
        self.tree = Tree(isolation != "none")
        self.deadline = options.deadline
        self.kill_at = 0.0  # boot time of the KILL that follows a TERM; 0 = none was ordered
        self.kill_now = False
        self.reason = ""
        self.detail = ""
        self.agent = -1
        # poll() counts a clock that stands still while the machine is suspended; a lease does not.
        self.timer = call("timerfd_create", CLOCK_BOOTTIME, os.O_CLOEXEC | os.O_NONBLOCK)
        self.buffers = {options.control: b"", guard: b""}

    def run(self) -> None:
        wake = self._listen()
        poller = select.poll()
        for fd in (self.options.control, self.guard, self.options.worker, self.timer, wake):
            poller.register(fd, select.POLLIN)
        for fd, _ in poller.poll(0):  # whoever is to guard us may already be gone
            self._hear(fd)
        if not self.reason and not self._late():
            self._start()
        while self.tree.reap(self.agent) and not self._must_kill():
            self._arm()
            for fd, _ in poller.poll():
                self._hear(fd)
        began = boot_seconds()
        self._must_kill()
        self.tree.end(self.agent)
        self._report(boot_seconds() - began)

    def _listen(self) -> int:
        for number in STOP_SIGNALS:  # those go to the guard; an agent may not end its keeper this way
            signal.signal(number, signal.SIG_IGN)
        wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return wake

    def _start(self) -> None:
        told, tell = os.pipe2(os.O_CLOEXEC)
        self.agent = os.fork()
        if self.agent == 0:
            become_agent(self.options, tell)
        os.close(tell)
        release_stdio()
        fault = os.read(told, 4096)  # ends without a byte when exec succeeded
        os.close(told)
        if fault:
            self._decide("exec_failed", fault.decode(errors="replace"))
            self.kill_now = True

    def _decide(self, reason: str, detail: str = "") -> None:
        if not self.reason:
            self.reason, self.detail = reason, detail

    def _late(self) -> bool:
        if self.deadline and boot_seconds() >= self.deadline:
            self._decide("lease")
            self.kill_now = True
        return self.kill_now

    def _must_kill(self) -> bool:
        if self.agent in self.tree.statuses:
            if not self.reason:
                self._decide("exit")
                self.kill_now = True
            self.kill_at = min(self.kill_at, boot_seconds() + STRAGGLER_SECONDS)
        if self.kill_at and boot_seconds() >= self.kill_at:
            self.kill_now = True
        return self._late()

    def _arm(self) -> None:
        moments = [moment for moment in (self.deadline, self.kill_at) if moment]
        whole, rest = divmod(int(min(moments) * 1e9) + 1 if moments else 0, 1_000_000_000)
        spec = _Timer(at_s=whole, at_ns=rest)
        call("timerfd_settime", self.timer, TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def _hear(self, fd: int) -> None:
        if fd == self.options.worker:
            self._orphaned("the worker died")
            return
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, 4096)
            if fd not in self.buffers:
                return
            if not data:
                self._orphaned("the worker let go" if fd == self.options.control else "the guard died")
            *lines, self.buffers[fd] = (self.buffers[fd] + data).split(b"\n")
            for line in lines:
                self._obey(line.decode(errors="replace").split())

    def _orphaned(self, detail: str) -> None:
        self._decide("orphaned", detail)
        self.kill_now = True

    def _obey(self, words: list[str]) -> None:
        match words:
            case ["renew", moment]:
                self.deadline = float(moment)
            case ["kill" | "signal" as order, grace]:
                self._decide("killed" if order == "kill" else "signal")
                self._terminate(float(grace))
            case ["freeze"]:
                self.tree.freeze()
            case ["thaw"]:
                self.tree.signal(signal.SIGCONT)

    def _terminate(self, grace: float) -> None:
        moment = boot_seconds() + grace
        if not self.kill_at and grace > 0:
            self.tree.signal(signal.SIGTERM)
            self.tree.signal(signal.SIGCONT)  # a frozen process cannot obey
        self.kill_at = min(self.kill_at or moment, moment)

    def _report(self, seconds: float) -> None:
        status = self.tree.statuses.get(self.agent)
        code = None if status is None or self.reason == "exec_failed" else os.waitstatus_to_exitcode(status)
        report(
            self.options.report,
            reason=self.reason or "exit",
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            killed=len(self.tree.killed),
            seconds=round(seconds, 6),
            isolation=self.isolation,
            detail=self.detail,
        )


def become_agent(options: Options, tell: int) -> None:
    """Replace this process by the command; says the fault on `tell` when that fails. Does not return."""
    try:
        os.setsid()
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # inside somebody else's lower limit nothing can be marked
            resource.setrlimit(RLIMIT_RTTIME, (options.tag, options.tag))
        os.chdir(options.cwd)
        os.execvp(options.command[0], options.command)  # noqa: S606 - an argument list, never a shell
    except (OSError, ValueError) as fault:
        os.write(tell, f"{options.command[0]} in {options.cwd}: {fault}".encode()[:4096])
    finally:
        os._exit(127)


def release_stdio() -> None:
    """Let go of the agent's streams, so that their end is the tree's end."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def report(fd: int, **fields: object) -> None:
    with contextlib.suppress(OSError):  # a worker that died reads nothing
        os.write(fd, json.dumps(fields).encode() + b"\n")


# -- the guard --


def keep(options: Options, guard: int, isolation: str) -> None:
    """The keeper's whole life. Does not return."""
    try:
        if isolation == "none":
            call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        else:
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            mount_proc()
        keeper = Keeper(options, guard, isolation)
        try:
            keeper.run()
        except Exception as fault:  # noqa: BLE001 - a bug of ours must not leave a tree, nor go unheard
            keeper.tree.end()
            report(options.report, reason="lost", isolation=isolation, detail=repr(fault))
        os._exit(0)
    finally:
        os._exit(70)  # the guard ends what is left, and reports


def main() -> None:
    options = Options(sys.argv[1:])
    for fd in (options.control, options.report, options.worker):
        os.set_inheritable(fd, False)
    os.set_blocking(options.control, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    isolation = choose(options.isolation)
    orders, order = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if isolation != "none":
            enter_namespace(isolation)
        keeper = os.fork()
    except OSError as fault:
        report(options.report, reason="exec_failed", isolation=isolation, detail=f"isolation {isolation}: {fault}")
        return
    if keeper == 0:
        os.close(order)
        keep(options, orders, isolation)
    os.close(options.control)
    release_stdio()

    def pass_on(*_: object) -> None:
        with contextlib.suppress(OSError):
            os.write(order, f"signal {options.grace}\n".encode())

    for number in STOP_SIGNALS:
        signal.signal(number, pass_on)
    pid = 0
    while pid != keeper:
        pid, status = os.waitpid(-1, 0)
    tree = Tree(whole_namespace=False)
    tree.end()
    if status != 0:
        detail = f"the keeper ended with wait status {status}"
        report(options.report, reason="lost", killed=len(tree.killed), isolation=isolation, detail=detail)


if __name__ == "__main__":
    main()
