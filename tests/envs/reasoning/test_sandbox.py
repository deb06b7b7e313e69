"""The sandbox (promise S7): hostile programs score nothing and leave the host as it was."""

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from envs.reasoning import CodeTask, Sandbox
from envs.reasoning.code import ENTRY, code_of, same
from envs.reasoning.code_pipelines import ENDINGS, STAGES, random_plan, result, source
from envs.reasoning.sandbox import Limits, SandboxUnavailable

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
SHORT = Limits(wall_s=4.0, cpu_s=1)


@pytest.fixture(scope="module")
def sandbox():
    found = Sandbox(limits=SHORT)
    try:
        found.run({"a.py": "pass"}, "a.py")
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    return found


@pytest.fixture
def clean_host(monkeypatch, tmp_path):
    """Check that no process, scratch folder or file is left behind."""
    mark = tmp_path / "secret.txt"
    mark.write_text("the secret")
    mark.chmod(0o600)
    monkeypatch.setenv("RLCORE_TEST_SECRET", "hunter2")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before, looks = set(children()), mark.stat()
    yield mark
    now = mark.stat()
    assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (
        looks.st_mode, looks.st_uid, looks.st_mtime_ns)  # fmt: skip
    assert set(children()) == before
    assert not [*scratch.iterdir()]
    assert mark.read_text() == "the secret"
    assert sorted(tmp_path.iterdir()) == [scratch, mark]


def children():
    """Processes below this one, by their numbers."""
    own, found = str(os.getpid()), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == own and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def run(sandbox, text):
    return sandbox.run({"a.py": text}, "a.py")


def test_a_program_runs(sandbox, clean_host):
    done = run(sandbox, "import json, math, os\nprint(json.dumps([math.pi, os.listdir('.')]))")
    assert (done.status, done.code) == ("exit", 0)
    assert done.stdout == b'[3.141592653589793, ["a.py"]]\n'
    assert done.stderr == b""
    failed = run(sandbox, "raise SystemExit(7)")
    assert (failed.status, failed.code) == ("exit", 7)


REFUSED = {
    "read a file": ("print(open({secret!r}).read())", "PermissionError"),
    "read /etc": ("print(open('/etc/passwd').read())", "PermissionError"),
    "list the home": ("import os; print(os.listdir('/root'))", "PermissionError"),
    "list the project": ("import os; print(os.listdir({project!r}))", "PermissionError"),
    "write outside": ("open({secret!r}, 'w').write('x')", "Read-only file system"),
    "write beside": ("open({secret!r} + '2', 'w').write('x')", "Read-only file system"),
    "delete": ("import os; os.unlink({secret!r})", "Read-only file system"),
    "connect": ("import socket; socket.create_connection(('127.0.0.1', 80), 1)", "Error"),
    "send": ("import socket as s; s.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))", "PermissionError"),
    "a server on this host": ("import socket; socket.socket(1).connect({server!r})",
                              "PermissionError"),
    "send to that server": ("import socket; socket.socketpair(1, 2)[0].sendto(b'x', {server!r})",
                            "PermissionError"),
    "change a mode": ("import os; os.chmod({secret!r}, 0o777)", "Read-only file system"),
    "change an owner": ("import os; os.chown({secret!r}, 0, 0)", "Read-only file system"),
    "change times": ("import os; os.utime({secret!r}, (0, 0))", "Read-only file system"),
    "set an attribute": ("import os; os.setxattr({secret!r}, 'user.a', b'1')",
                         "Read-only file system"),
    "change a device": ("import os; os.chmod('/dev/null', 0o600)", "Read-only file system"),
    "shared memory": ("import ctypes as c; l = c.CDLL(None, use_errno=True)\n"
                      "assert l.shmget(0, 2**28, 0o1600) >= 0, c.get_errno()", "AssertionError: 1"),
    "a message queue": ("import ctypes as c; l = c.CDLL(None, use_errno=True)\n"
                        "assert l.msgget(0, 0o1600) >= 0, c.get_errno()", "AssertionError: 1"),
    "watch a folder": ("import ctypes as c; l = c.CDLL(None, use_errno=True)\n"
                       "assert l.inotify_init1(0) >= 0, c.get_errno()", "AssertionError: 1"),
    "memory without a name": ("import os; os.memfd_create('a')", "PermissionError"),
    "memory": ("bytearray(2**30)", "MemoryError"),
    "a large file": ("open('f', 'wb').write(bytes(2**21))", "File too large"),
    "many files": ("for k in range(99): open(str(k), 'wb').write(bytes(10**6))", "No space left"),
    "many inodes": ("for k in range(999): open(str(k), 'w').close()", "No space left"),
    "shell": ("import subprocess; subprocess.run(['/bin/ls', '/'])", "PermissionError"),
    "fork bomb": ("import os\nwhile True: os.fork()", "PermissionError"),
    "spawn": ("import os; os.posix_spawn('/bin/ls', ['ls'], dict())", "PermissionError"),
    "new user": ("import ctypes as c; l = c.CDLL(None, use_errno=True)\n"
                 "assert l.unshare(0x10000000) == 0, c.get_errno()", "AssertionError: 1"),
    "mount": ("import ctypes as c; l = c.CDLL(None, use_errno=True)\n"
              "assert not l.mount(b'n', b'.', b'tmpfs', 0, 0), c.get_errno()", "AssertionError: 1"),
    "trace": ("import ctypes as c; l = c.CDLL(None, use_errno=True)\n"
              "assert l.ptrace(16, 1, 0, 0) == 0, c.get_errno()", "AssertionError: 1"),
    "kill everything": ("import os; os.kill(-1, 9)", "ProcessLookupError"),
    "see processes": ("import os; print(os.listdir('/proc'))", "PermissionError"),
    "100 MB of output": ("import sys\nfor _ in range(100): sys.stdout.write('x' * 10**6)",
                         "File too large"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server():
    """A socket in the file system, as container engines and clusters have one."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as found:
        found.bind(f"{folder}/socket")
        found.listen()
        yield f"{folder}/socket"


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_program_may_not_do(sandbox, clean_host, repo_root, server, name):
    text, error = REFUSED[name]
    for hole, value in (("secret", clean_host), ("project", repo_root), ("server", server)):
        text = text.replace(f"{{{hole}!r}}", repr(str(value)))
    done = run(sandbox, text)
    assert (done.status, done.code) == ("exit", 1), done
    assert error in done.stderr.decode()
    assert len(done.stdout) <= SHORT.file_size


def test_no_secrets_come_along(sandbox, clean_host):
    text = "import os; print(sorted(os.environ), os.getpid(), os.getppid(), os.listdir('/dev/fd'))"
    done = run(sandbox, text)
    assert b"hunter2" not in done.stdout + done.stderr
    assert b"PermissionError" in done.stderr  # of /dev/fd
    done = run(sandbox, "import os; print(sorted(os.environ), os.getpid(), os.getppid())")
    assert done.stdout == b"['LC_CTYPE', 'PATH'] 2 1\n"
    fds = "import os\nfor f in range(3, 64):\n try: print(f, os.fstat(f))\n except OSError: pass"
    assert run(sandbox, fds).stdout.count(b"\n") <= 1  # its own script at most


def test_a_program_has_no_capabilities_and_cannot_get_any(sandbox, clean_host):
    text = (
        "import ctypes as c\nl = c.CDLL(None)\n"
        "head, held = (c.c_uint32 * 2)(0x20080522, 0), (c.c_uint32 * 6)()\n"
        "assert l.capget(head, held) == 0\n"
        "bounding = sum(l.prctl(23, k, 0, 0, 0) for k in range(40))\n"
        "print(list(held), bounding, l.prctl(39, 0, 0, 0, 0))"
    )
    assert run(sandbox, text).stdout == b"[0, 0, 0, 0, 0, 0] 0 1\n"


def test_time_is_limited(sandbox, clean_host):
    patient = Sandbox(limits=Limits(wall_s=30.0, cpu_s=1))
    stubborn = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    for text, code in (("while True: pass", signal.SIGXCPU), (stubborn, signal.SIGKILL)):
        killed = run(patient, text)
        assert (killed.status, killed.code) == ("signal", code)


def test_a_wall_clock_ends_threads_and_sleepers(clean_host, sandbox):
    quick = Sandbox(limits=Limits(wall_s=0.8))
    for text in (
        "import time; time.sleep(60)",
        "import os, time; os.setsid() if os.getpid() != 2 else 0; time.sleep(60)",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print(1)",
    ):
        began = time.monotonic()
        done = run(quick, text)
        assert (done.status, done.code) == ("timeout", signal.SIGKILL)
        assert time.monotonic() - began < 5


def test_killing_its_own_group_ends_the_program(sandbox, clean_host):
    done = run(sandbox, "import os\nos.kill(0, 9)")
    assert (done.status, done.code) == ("signal", signal.SIGKILL)


def test_the_clock_starts_with_the_program(clean_host, monkeypatch):
    from envs.reasoning import sandbox as module

    def late(*arguments):
        time.sleep(0.6)
        return ready(*arguments)

    ready = module._ready
    monkeypatch.setattr(module, "_ready", late)
    done = run(Sandbox(limits=Limits(wall_s=0.5)), "print(1)")
    assert (done.status, done.stdout) == ("exit", b"1\n")
    assert done.seconds < 0.5


def test_threads_may_be_started(sandbox):
    text = "import threading as t; x = []; a = t.Thread(target=x.append, args=(5,))\n"
    assert run(sandbox, text + "a.start(); a.join(); print(x)").stdout == b"[5]\n"


@pytest.fixture(scope="module")
def problem():
    task = CodeTask(limits=SHORT)
    return task, task.sample(np.random.default_rng(0))


FORGERIES = {
    "exit 0": "import os\nos._exit(0)",
    "polite exit": "raise SystemExit(0)",
    "fake pass": "print('PASS')\nprint('8 passed')\ndef solve(x): return None",
    "equal to all": (
        "class E:\n def __eq__(s, o): return True\n __hash__ = None\ndef solve(x): return E()"
    ),
    "an integer that is equal to all": (
        "class E(int):\n def __eq__(s, o): return True\n __hash__ = None\ndef solve(x): return E(3)"
    ),
    "a list that is equal to all": (
        "class E(list):\n def __eq__(s, o): return True\ndef solve(x): return E()"
    ),
    "patched json": (
        "import sys, json\njson.dumps = lambda *a, **k: '{\"value\": true}'\ndef solve(x): return 1"
    ),
    "patched modules": "import sys\nsys.modules['json'] = None\ndef solve(x): return sys",
    "overwritten driver": "open('driver.py', 'w').write('')\ndef solve(x): return 0",
    "overwritten calls": "open('calls.json', 'w').write('[]')\ndef solve(x): return 0",
    "reads the answers": (
        "import os\ndef solve(x):\n return [open(f).read() for f in os.listdir('.')]"
    ),
    "writes claims": (
        "import os\nfor fd in range(1, 64):\n try: os.write(fd, b'{\"value\": 1}\\n' * 9)\n"
        " except OSError: pass\nos._exit(0)"
    ),
    "thread left behind": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def solve(x): return 1"
    ),
    "prints a lot": "print('x' * 10**8)\ndef solve(x): return 1",
    "deep answer": "def solve(x):\n r = []\n for _ in range(900): r = [r]\n return r",
    "huge number": "def solve(x): return 10**4000",
    "loops": "def solve(x):\n while True: pass",
    "no function": "answer = 1",
    "syntax error": "def solve(x:",
    "null byte": "def solve(x): return 1\x00",
    "surrogate": "def solve(x): return '\ud800'",
    "not a function": "solve = 3",
    "true for one": "def solve(x): return bool(x)",
    "frames": (
        "import sys\ndef solve(x):\n f = sys._getframe()\n while f.f_back: f = f.f_back\n"
        " return [str(v) for v in f.f_globals.values()]"
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_reward_cannot_be_forged(sandbox, clean_host, problem, name):
    task, item = problem
    found = task.reward(item, f"```python\n{FORGERIES[name]}\n```")
    assert found.total == 0.0
    assert not found.ok


def test_right_programs_earn_the_reward(sandbox, clean_host, problem):
    task, item = problem
    good = task.reward(item, task.reference(item))
    assert (good.total, good.ok, good.parts) == (1.0, True, {"tests": 1.0})
    noisy = f"import sys\nprint('hello')\n{item.answer}\nprint('bye', file=sys.stderr)\n"
    assert task.reward(item, f"<answer>{noisy}</answer>").ok
    wrong = f"{item.answer}\nold = solve\ndef solve(x): return old(x) if x else 'no'"
    partly = task.reward(item, f"```\n{wrong}\n```")
    assert partly.total == 0.0
    assert partly.parts["tests"] == 7 / 8
    assert task.reward(item, "no code").parsed is None


def test_batches_run_each_program_once(sandbox, problem, monkeypatch):
    task, item = problem
    other = task.sample(np.random.default_rng(1))
    runs, lock, call = [], threading.Lock(), task.sandbox.call

    def counted(code, *rest):
        with lock:
            runs.append(code)
        return call(code, *rest)

    monkeypatch.setattr(task.sandbox, "call", counted)
    good, bad = task.reference(item), "```python\ndef solve(x): return 0\n```"
    batch = [(item, good), (item, bad), (item, good), (other, good), (item, "none"), (item, bad)]
    assert task.rewards(batch).tolist() == [1, 0, 1, 0, 0, 0]
    assert len(runs) == 3


def test_results_are_compared_by_type():
    assert same([1, [2, "a"], None], [1, [2, "a"], None])
    for claimed, wanted in ((True, 1), (1.0, 1), ("1", 1), ([1], [1, 2]), ([True], [1]), (None, 0)):
        assert not same(claimed, wanted)


def test_code_is_found_in_completions():
    assert code_of("a ```python\nx\n``` b ```py\ny\n``` c") == "y\n"
    assert code_of("```x```") == "x"
    assert code_of("```python\nx\n``` and ```python\ny") == "x\n"
    assert code_of("<answer> x </answer>") == "x"
    assert code_of("nothing") is None


def test_described_stages_and_their_code_agree():
    rng = np.random.default_rng(0)
    used = set()
    for _ in range(200):
        plan = random_plan(rng, 2)
        used |= {("s", plan[0][0]), ("e", plan[-1][0])}
        space = {}
        exec(source(plan, ENTRY), space)
        for n in (0, 1, 9):
            numbers = rng.integers(-20, 60, n).tolist()
            assert space[ENTRY](list(numbers)) == result(plan, numbers)
    assert len(used) == len(STAGES) + len(ENDINGS)


def test_known_results_of_stages():
    x = [4, 9, 6, 4, 1]
    wanted = [[4, 6, 4], [9, 1], [8, 18, 12, 8, 2], [2, 7, 4, 2, -1], [6, 4, 1, 4, 9], [4, 6, 1],
              [10, 13, 7], [9, 6]]  # fmt: skip
    assert [stage.apply(x, 2) for stage in STAGES] == wanted
    assert [e.apply(x, 2) for e in ENDINGS] == [26, 4, [[4, 9], [6, 4], [1]], 1, [0, 1, 0, 0, 1]]
    assert ENDINGS[3].apply([], 2) == -1


def test_process_isolation_has_to_be_asked_for(clean_host):
    loose = Sandbox("process", SHORT)
    done = run(loose, "import os; print(os.getpid() > 2, sorted(os.environ))")
    assert done.stdout == b"True ['LC_CTYPE', 'PATH']\n"
    assert run(loose, "bytearray(2**30)").code == 1
    assert (
        run(Sandbox("process", Limits(wall_s=0.5)), "import time; time.sleep(9)").status
        == "timeout"
    )
    with pytest.raises(ValueError, match="Sandbox: isolation must be one of namespaces, process"):
        Sandbox("none")


def test_a_missing_layer_is_a_refusal(monkeypatch, clean_host, tmp_path_factory):
    from envs.reasoning import sandbox as module

    child = (module._HERE / "sandbox_child.py").read_text()
    assert child.count("libc.unshare(flags)") == 1
    (tmp_path_factory.mktemp("child") / "sandbox_child.py").write_text(
        child.replace("libc.unshare(flags)", "libc.unshare(-1)")
    )
    monkeypatch.setattr(module, "_HERE", tmp_path_factory.getbasetemp() / "child0")
    with pytest.raises(SandboxUnavailable, match="cannot be built here: namespaces: Invalid"):
        run(Sandbox(limits=SHORT), "print(1)")
