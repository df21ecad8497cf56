import numpy as np
import pytest

from jepa_scale.data.external.detect import formats, read_episodes


def test_an_unknown_path_lists_the_formats(tmp_path):
    path = tmp_path / "episodes.bin"
    path.write_bytes(b"nothing")
    for place in (path, tmp_path):
        with pytest.raises(ValueError, match="expected one of these formats, got none of them") as raised:
            read_episodes(place)
        assert all(one.name in str(raised.value) for one in formats())
    with pytest.raises(ValueError, match="got no such file or folder"):
        read_episodes(tmp_path / "absent.h5")


def test_a_format_or_option_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, observations=np.zeros((4, 1)), actions=np.zeros((4, 1)), ep_len=[4])
    with pytest.raises(ValueError, match=r"among auto, flat-hdf5, .*minari.*got 'webdataset'"):
        read_episodes(path, format="webdataset")
    with pytest.raises(ValueError, match=r"plain\.npz: npz has no such option .*allow_pickle"):
        read_episodes(path, allow_pickle=True)
