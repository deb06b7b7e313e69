"""The GPU forms against the NumPy twin, bit for bit."""

import numpy as np
import pytest

from envs.labyrinth.arrays import NumpyArrays
from envs.labyrinth.view import View

torch = pytest.importorskip("torch")
gpu = pytest.mark.gpu


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"


@gpu
@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("n", [1, 3, 300])
def test_pictures_equal_the_numpy_twin(lab, cuda, backend, n):
    from envs.labyrinth.arrays import TorchArrays
    from envs.labyrinth.random_maze import make_drawer

    crowd = lab.crowd(n, seed=n)
    drawer, _ = make_drawer("labyrinth/random-v0", backend, cuda)
    there = TorchArrays("labyrinth/random-v0", cuda)
    sent = [there.array(crowd[0], "uint8"), *(there.array(part) for part in crowd[1:])]
    wanted = View(NumpyArrays(), lab.rays, lab.paint).draw(*crowd)
    assert np.array_equal(drawer.draw(*sent).cpu().numpy(), wanted)


@gpu
@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_the_device_form_plays_the_same_episodes(cuda, backend):
    from envs.labyrinth.bench_gpu import check

    assert check(backend, cuda, n=32, steps=60) == 32 * 60


@gpu
def test_more_players_than_one_launch_takes(lab, cuda):
    from envs.labyrinth.arrays import TorchArrays
    from envs.labyrinth.random_maze import make_drawer

    there = TorchArrays("labyrinth/random-v0", cuda)
    crowd = lab.crowd(7)
    sent = [there.array(crowd[0], "uint8"), *(there.array(part) for part in crowd[1:])]
    many = [torch.cat([part] * 9500) for part in sent]
    drawer, _ = make_drawer("labyrinth/random-v0", "triton", cuda)
    pictures = drawer.draw(*many).reshape(9500, 7, -1)
    assert bool((pictures == pictures[:1]).all())
    wanted = View(NumpyArrays(), lab.rays, lab.paint).draw(*crowd)
    assert np.array_equal(pictures[-1].cpu().numpy(), wanted.reshape(7, -1))
