"""The tour's digits, its nets and what it measures before training; many nets trained at once."""

import pytest
import torch
from tests.docs.small_tour import do_nothing, run_here, small_settings, whole_story
from torch import nn

from fanin._tour.data import load_digits
from fanin._tour.first_layer import measure_first_layer
from fanin._tour.main import measure
from fanin._tour.nets import DEFAULT_STARTS, build, deep_net, find_start, find_starts, simple_net
from fanin._tour.results import write_json
from fanin._tour.signal import measure_depth, one_pass
from fanin._tour.training import Member, Stack, Training, _sgd_step, batches, train
from fanin._tour.workers import one_thread

PLAIN_AND_NORMED = pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch_norm"])


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


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


class TestTraining:
    @PLAIN_AND_NORMED
    def test_a_stack_trains_each_member_as_a_plain_loop_with_torch_optim_would(self, norm):
        """In float64, where 30 steps of any order of additions agree to 1e-9 and bugs do not."""
        network = deep_net(3, batch_norm=norm)
        members = [
            Member(find_start(name), 0.03 * (n + 1)) for n, name in enumerate(DEFAULT_STARTS)
        ]
        nets = [build(network, member.start, 1).double() for member in members]
        stack = Stack(nets)
        rates = torch.tensor([member.rate for member in members], dtype=torch.float64)
        optimizers = [
            torch.optim.SGD(net.parameters(), lr=member.rate)
            for net, member in zip(nets, members, strict=True)
        ]
        digits = load_digits()
        for chosen in batches(5, 4000, steps=30, batch=64):
            images, labels = digits.train_images[chosen].double(), digits.train_labels[chosen]
            expected = [
                plain_step(*pair, images, labels) for pair in zip(nets, optimizers, strict=True)
            ]
            losses = _sgd_step(stack, images, labels, rates)
            torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-9, atol=1e-9)
        held_out = digits.test_images.double()
        expected = torch.stack([net.eval()(held_out) for net in nets])
        actual = stack.logits(held_out, training=False)
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)

    @PLAIN_AND_NORMED
    def test_a_diverging_member_leaves_its_neighbours_alone(self, norm):
        """A grid of learning rates has members that become NaN."""
        digits = load_digits()
        good = Member(find_start("kaiming_normal"), 0.03)
        wild = Member(find_start("kaiming_normal"), 1e6)

        def losses(*members):
            return train(
                Training(deep_net(2, batch_norm=norm), members, 0, 20, 64), digits, do_nothing
            ).losses

        alone, together = losses(good)[0], losses(wild, good)[1]
        assert together == pytest.approx(alone, rel=1e-4)  # float32, other order of additions

    def test_accuracy_is_the_share_of_held_out_digits_that_the_net_gets_right(self):
        """Measured by torch's own module, trained alike."""
        digits = load_digits()
        member = Member(find_start("kaiming_normal"), 0.1)
        training = Training(simple_net(), (member,), 3, 60, 64, check_every=60)
        net = build(simple_net(), member.start, 3)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for chosen in batches(3, 4000, 60, 64):
            plain_step(net, optimizer, digits.train_images[chosen], digits.train_labels[chosen])
        right = (net(digits.test_images).argmax(1) == digits.test_labels).float().mean().item()
        # Float32 sums in another order: an image on the border may fall to the other side.
        assert train(training, digits, do_nothing).accuracies[0][0] == pytest.approx(
            right, abs=0.003
        )

    def test_an_epoch_shows_no_digit_twice_and_seeds_shuffle_differently(self):
        """Batches are drawn without replacement, as a data loader does."""
        order = batches(0, 4000, steps=124, batch=64)
        for epoch in order.view(2, -1):
            assert len(epoch.unique()) == 62 * 64
        assert not torch.equal(order, batches(1, 4000, 124, 64))

    def test_torch_default_is_what_torch_draws(self):
        """The start under trial must not be an imitation."""
        torch.manual_seed(11)
        layer = nn.Linear(784, 64)
        assert torch.equal(
            build(deep_net(1), find_start("torch_default"), 11)[0].weight, layer.weight
        )

    def test_layers_of_one_shape_get_different_weights(self):
        """Each is drawn under its own name."""
        net = build(deep_net(3), find_start("kaiming_normal"), 0)
        assert not torch.equal(net[2].weight, net[4].weight)


def plain_step(net, optimizer, images, labels):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


class TestBeforeTraining:
    def test_the_bound_and_variance_of_torchs_start_fit_their_formulas(self):
        """1/sqrt(fan_in) and 1/(3 fan_in), which the first page of the story rests on."""
        row = measure_first_layer(find_start("torch_default"), 0, load_digits())
        assert row.bound == pytest.approx(784**-0.5, rel=1e-5)
        assert row.variance_by_formula == pytest.approx(1 / (3 * 784), rel=1e-5)
        # The largest of n uniform values falls short of the bound by more than x/n with
        # probability exp(-x): 14 is one in a million.
        assert 1 - 14 / (784 * 128) < row.largest / row.bound <= 1 + 1e-5
        assert abs(row.variance / row.variance_by_formula - 1) < 4.9 * row.sampling_error
        assert row.gradient_before_backward == "None"
        assert row.gradient_rms > 0

    @pytest.mark.parametrize("name", DEFAULT_STARTS[1:])
    def test_drawing_at_construction_and_afterwards_give_equal_weights(self, name):
        """The two ways are one way: the text says so."""
        assert measure_first_layer(find_start(name), 3, load_digits()).afterwards_is_equal is True

    def test_the_gradient_by_depth_is_that_of_each_images_own_loss(self):
        """Against a finite difference of the loss in one unit of one image."""
        net = build(deep_net(2), find_start("kaiming_normal"), 0).double()
        digits = load_digits()
        images, labels = digits.train_images[:3].double(), digits.train_labels[:3]
        passes = one_pass(net, images, labels)
        nudge = torch.zeros_like(passes.outputs[0])
        nudge[1, 5] = 1e-6

        def loss(first_output):
            logits = net[1:](first_output)
            return nn.functional.cross_entropy(logits, labels, reduction="none")[1]

        slope = (loss(passes.outputs[0] + nudge) - loss(passes.outputs[0] - nudge)) / 2e-6
        assert passes.gradients[0][1, 5].item() == pytest.approx(slope.item(), rel=1e-5)

    def test_nothing_is_taken_from_torchs_global_generator(self):
        """Looking changes nothing, not even the next random number."""
        before = torch.get_rng_state()
        for start in find_starts(DEFAULT_STARTS):
            measure_first_layer(start, 0, load_digits())
            measure_depth(start, 3, [0], load_digits())
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("name", ["zeros", "ones", "identity"])
    def test_starts_that_carry_nothing_or_too_much_are_told_too(self, name):
        """No division by a signal of zero, no infinity in results.json."""
        settings = small_settings(starts=find_starts([name]), networks=(deep_net(3),), steps=40)
        results = measure(settings, run_here, do_nothing)
        assert f'"start": "{name}"' in write_json(results)
        assert name in "\n".join(block.text for block in whole_story(results))
