"""The tour's digits, its nets, and what it measures of SimpleNet by hand."""

import pickle

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import nn

from fanin._tour.data import a_few, load_digits
from fanin._tour.measure import SHOWN, measure_starts
from fanin._tour.nets import SIMPLE_NET, TEN_LAYERS, Network, SimpleNet


class TestData:
    def test_the_split_is_400_and_100_of_each_digit_and_no_image_is_in_both(self):
        """A held-out digit that was trained on would make every accuracy too good."""
        digits = load_digits()
        assert digits.train_labels.bincount().tolist() == [400] * 10
        assert digits.test_labels.bincount().tolist() == [100] * 10
        seen = {image.numpy().tobytes() for image in digits.train_images}
        assert len(seen) == 4000
        assert not any(image.numpy().tobytes() in seen for image in digits.test_images)

    def test_training_pixels_have_mean_zero_and_mean_square_one(self):
        """The variance formulas of the tour's text assume an input of that size."""
        pixels = load_digits().train_images.double()
        assert abs(pixels.mean().item()) < 1e-6  # float32 rounding of each pixel
        assert abs(pixels.square().mean().item() - 1) < 1e-6

    def test_the_pixels_are_bytes_of_real_images(self):
        """Undoing the standardisation gives back whole numbers from 0 to 255."""
        digits = load_digits()
        bytes_again = (digits.test_images.double() * digits.pixel_std + digits.pixel_mean) * 255
        assert (bytes_again - bytes_again.round()).abs().max() < 1e-4
        assert (bytes_again.round().min(), bytes_again.round().max()) == (0, 255)


class TestNets:
    @pytest.mark.parametrize(
        ("name", "widths"),
        [(SIMPLE_NET, [784, 128, 64, 10]), (TEN_LAYERS, [784, *[64] * 10, 10])],
    )
    @pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch_norm"])
    def test_a_net_has_its_widths_and_a_norm_behind_every_hidden_layer(
        self, name, widths, batch_norm
    ):
        """The story says so; worker processes get it pickled."""
        net = pickle.loads(pickle.dumps(Network(name, batch_norm).make))()  # noqa: S301 - our own
        layers = [one for one in net.modules() if isinstance(one, nn.Linear)]
        assert [layers[0].in_features, *(one.out_features for one in layers)] == widths
        norms = [one for one in net.modules() if isinstance(one, nn.BatchNorm1d)]
        assert [one.num_features for one in norms] == (widths[1:-1] if batch_norm else [])
        assert net(torch.zeros(2, 784)).shape == (2, 10)


class TestFirstLayer:
    def test_it_is_what_the_lines_in_the_story_would_print(self):
        """The same by hand, with nothing of fanin."""
        digits = load_digits()
        images, labels = a_few(digits)
        torch.manual_seed(3)
        net = SimpleNet()
        found = measure_starts(3, digits).own
        assert found.weights == tuple(net.fc1.weight[0, SHOWN].tolist())
        assert found.gradient_before == repr(net.fc1.weight.grad) == "None"
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        assert found.loss == pytest.approx(loss.item(), rel=1e-6)
        assert found.gradients == pytest.approx(net.fc1.weight.grad[0, SHOWN].tolist(), rel=1e-3)

    def test_the_generator_is_left_as_it_was(self):
        """A tour in a session changes no later draw."""
        before = torch.get_rng_state()
        measure_starts(0, load_digits())
        assert torch.equal(torch.get_rng_state(), before)
