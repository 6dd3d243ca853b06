"""Reports made by hand from simple formulas, for what shows and carries reports.

``healthy``: a ReLU net of He's start. ``vanishing``: 30 plain layers of torch's. ``exploding``: 32
residual blocks of He's start without norm. ``transformer``: 12 blocks. ``not_finite``: a NaN.
"""

from dataclasses import replace
from math import inf, log, nan

from fanin._audit._records import (
    Finding,
    Growth,
    Loss,
    ParameterState,
    Place,
    Prediction,
    Signal,
    Spectrum,
)
from fanin._audit._report import Report

__all__ = [
    "ALL",
    "exploding",
    "healthy",
    "not_finite",
    "noted",
    "transformer",
    "vanishing",
    "warned",
]

VERSIONS = (("fanin", "0.4.0"), ("torch", "2.13.0"))
BATCH = 64
KINDS = {
    "addmm": "product",
    "embedding": "lookup",
    "relu": "pointwise",
    "gelu": "pointwise",
    "layer_norm": "norm",
}


class Run:
    """The places of a run in order, each behind the last one unless it says otherwise."""

    def __init__(self):
        self.places = []
        self.depths = []

    def add(self, name, operation, signal, *, shape, inputs=None, **facts):
        """One more place; its number."""
        index = len(self.places)
        sources = ((index - 1,) if index else ()) if inputs is None else inputs
        depth = max((self.depths[one] for one in sources), default=0) + bool(facts.get("weight"))
        self.depths.append(depth)
        self.places.append(
            Place(
                index=index,
                name=name,
                operation=operation,
                kind=facts.pop("kind", KINDS.get(operation, operation)),
                module=facts.pop("module", name.partition(" ")[0]),
                shape=shape,
                depth=depth,
                signal=signal,
                inputs=sources,
                **facts,
            )
        )
        return index


def parameters(name, shape, second_moment, gradient, *, role="weight", bias=0.0):
    """A weight and its bias; Adam's first step is of the size of the learning rate."""
    step = 0.001
    weight = ParameterState(
        name=f"{name}.weight",
        role=role,
        shape=shape,
        dtype="float32",
        trainable=True,
        mean=0.0,
        second_moment=second_moment,
        gradient=gradient,
        update=step / second_moment**0.5 if second_moment else None,
    )
    shift = ParameterState(
        name=f"{name}.bias",
        role="bias",
        shape=shape[:1],
        dtype="float32",
        trainable=True,
        mean=0.0,
        second_moment=bias,
        gradient=gradient,
        update=step / bias**0.5 if bias else None,
        zeros=0.0 if bias else 1.0,
    )
    return weight, shift


def relu_net(depth, width, *, moments, variances, gradients, correlations, variance, bias):
    """Places and parameters of ``depth`` hidden ReLU layers and a readout, of a Sequential."""
    run, states = Run(), []
    for layer in range(depth + 1):
        name, last = str(2 * layer), layer == depth
        size, fan_in = 10 if last else width, 784 if layer == 0 else width
        signal = Signal(
            second_moment=moments[layer],
            size=size,
            variance=variances[layer],
            correlation=correlations[layer],
            gradient=gradients[layer],
        )
        run.add(name, "addmm", signal, shape=(BATCH, size), weight=f"{name}.weight")
        spread = variance(fan_in)
        states += parameters(name, (size, fan_in), spread, gradients[layer], bias=bias(fan_in))
        if last:
            break
        passed = replace(
            signal,
            second_moment=signal.second_moment / 2,
            variance=signal.variance / 2,
            gradient=2 * signal.gradient,
        )
        run.add(
            str(2 * layer + 1),
            "relu",
            passed,
            shape=(BATCH, size),
            dead=0.0,
            saturated=0.5,
        )
    return tuple(run.places), tuple(states)


def healthy():
    """Six hidden ReLU layers of He's start: everything keeps its size; a note on the spectrum."""
    depth, width = 6, 128
    count = range(depth + 1)
    places, states = relu_net(
        depth,
        width,
        moments=[1.02, 0.97, 1.05, 1.01, 0.94, 0.98, 0.52],
        variances=[1.01, 0.81, 0.72, 0.6, 0.49, 0.44, 0.21],
        gradients=[1.1e-6 * (1 + 0.03 * layer) for layer in count],
        correlations=[0.02, 0.31, 0.48, 0.61, 0.68, 0.73, 0.76],
        variance=lambda fan_in: 2 / fan_in,
        bias=lambda fan_in: 0.0,
    )
    names = tuple(str(2 * layer) for layer in range(depth))
    return Report(
        model="Sequential",
        batch="float32 64x784",
        mode="training",
        seed=0,
        plan="9f3c1a5be2d47708",
        recipe="kaiming",
        places=places,
        parameters=states,
        loss=Loss(
            value=2.41,
            said="cross-entropy with random labels of 10 classes, inferred from the output",
            uninformed=log(10),
            output_std=0.72,
            classes=10,
        ),
        growths=(
            Growth(
                direction="forward",
                kind="plain",
                names=names,
                per_layer=0.992,
                interval=(0.71, 1.36),
                total=0.96,
            ),
            Growth(
                direction="backward",
                kind="plain",
                names=names,
                per_layer=1.012,
                interval=(0.71, 1.36),
                total=1.08,
            ),
        ),
        spectrum=Spectrum(
            first="0",
            last="10",
            exact=True,
            values=tuple(2.6 * (1 - (rank + 0.5) / 128) ** 1.6 for rank in range(128)),
            mean_square=1.04,
            error=0.0,
            inputs=4,
        ),
        predictions=tuple(
            Prediction(index=place.index, second_moment=1.0, gradient=1.0)
            for place in places
            if place.weight
        )[:-1],
        findings=(),
        notes=("The targets are random: the loss says nothing of what can be learned.",),
        versions=VERSIONS,
    )


def vanishing():
    """Thirty plain ReLU layers as torch starts them: a sixth of the variance goes on."""
    depth, width = 30, 256
    moments, variances, correlations = [0.334], [0.333], [0.01]
    for layer in range(depth):
        moments.append(moments[-1] / 6 + 1 / (3 * width))
        variances.append(variances[-1] / 6 * (0.9 if layer < 4 else 0.999))
        correlations.append(min(1 - variances[-1] / moments[-1], 1.0))
    gradients = [2.0e-5 / 6.0 ** (depth - layer) for layer in range(depth + 1)]
    places, states = relu_net(
        depth,
        width,
        moments=moments,
        variances=variances,
        gradients=gradients,
        correlations=correlations,
        variance=lambda fan_in: 1 / (3 * fan_in),
        bias=lambda fan_in: 1 / (3 * fan_in),
    )
    names = tuple(str(2 * layer) for layer in range(depth))
    backward = gradients[0] / gradients[depth - 1]
    return Report(
        model="Sequential",
        batch="float32 64x784",
        mode="training",
        places=places,
        parameters=states,
        loss=Loss(
            value=2.3034,
            said="cross-entropy with random labels of 10 classes, inferred from the output",
            uninformed=log(10),
            output_std=0.04,
            classes=10,
        ),
        growths=(
            Growth(
                direction="forward",
                kind="plain",
                names=names,
                per_layer=0.168,
                interval=(0.72, 1.33),
                total=variances[depth - 1] / variances[0],
            ),
            Growth(
                direction="backward",
                kind="plain",
                names=names,
                per_layer=0.1667,
                interval=(0.72, 1.33),
                total=backward,
            ),
        ),
        spectrum=Spectrum(
            first="0",
            last="58",
            exact=False,
            values=(3.1e-10, 2.2e-10, 1.9e-10, 4.4e-14, 3.1e-15),
            mean_square=1.3e-21,
            error=4.0e-22,
            inputs=4,
        ),
        predictions=tuple(
            Prediction(
                index=place.index,
                second_moment=0.334 / 6.0**order + (1 - 6.0**-order) * 1.2 / (3 * width),
                gradient=6.0 ** (order + 1 - depth),
            )
            for order, place in enumerate(place for place in places if place.weight)
        )[:-1],
        findings=(
            Finding(
                code="vanishing-signal",
                severity="error",
                where="2",
                measured="the variance over the batch falls to 0.168 at each of 30 layers, "
                "7.1e-24 from the first to the last",
                expected="0.72 to 1.33 at each layer",
                reason="The draw U(-1/sqrt(fan_in), 1/sqrt(fan_in)) passes on a sixth of what "
                "tells two inputs apart; after 30 layers all inputs give the same output.",
                remedy="import fanin\n\n"
                "fanin.initialize(model, batch, recipe=fanin.recipes.kaiming, seed=0)",
                place=2,
                also=names[2:],
            ),
            Finding(
                code="vanishing-gradient",
                severity="error",
                where="56",
                measured="the squared gradient falls to 0.167 at each layer on the way back",
                expected="0.72 to 1.33 at each layer",
                reason="Weights of variance 1 / (3 fan_in) pass back a sixth of the gradient's "
                "square, so the first layers do not learn.",
                remedy="fanin.initialize(model, batch, recipe=fanin.recipes.kaiming, seed=0)",
                place=56,
                also=names[:-2],
            ),
            Finding(
                code="collapsed-inputs",
                severity="warning",
                where="10",
                measured="the mean cosine of two inputs is 0.9999",
                expected="under 0.99",
                reason="The biases are all that is left of the signal here.",
                remedy="model[10].bias.data.zero_()",
                place=10,
            ),
        ),
        notes=("The targets are random: the loss says nothing of what can be learned.",),
        versions=VERSIONS,
    )


def exploding():
    """Thirty-two residual blocks of He's start without norm: E x^2 doubles at each."""
    blocks, width = 32, 128
    run, states = Run(), []
    stream = run.add(
        "inputs",
        "addmm",
        Signal(second_moment=1.0, size=width, variance=1.0, correlation=0.0, gradient=4.0e3),
        shape=(BATCH, width),
        weight="inputs.weight",
    )
    states += parameters("inputs", (width, 64), 1 / 64, 4.0e3)
    for block in range(blocks):
        size, back = 2.0**block, 1e-6 * 2.0 ** (blocks - block)
        cosine = 1 - 0.9**block
        facts = {"correlation": cosine, "gradient": back}
        name = f"blocks.{block}.fc"
        run.add(
            name,
            "addmm",
            Signal(second_moment=2 * size, size=width, variance=2 * size * (1 - cosine), **facts),
            shape=(BATCH, width),
            weight=f"{name}.weight",
        )
        states += parameters(name, (width, width), 2 / width, back)
        branch = run.add(
            f"blocks.{block}.act",
            "relu",
            Signal(second_moment=size, size=width, variance=size * (1 - cosine), **facts),
            shape=(BATCH, width),
            dead=0.0,
            saturated=0.5,
        )
        stream = run.add(
            f"blocks.{block} add",
            "add",
            Signal(second_moment=2 * size, size=width, variance=2 * size * (1 - cosine), **facts),
            shape=(BATCH, width),
            inputs=(stream, branch),
            stream=0,
        )
    run.add(
        "head",
        "addmm",
        Signal(second_moment=2.0**blocks, size=10, variance=9.0e7, correlation=0.97, gradient=1e-3),
        shape=(BATCH, 10),
        weight="head.weight",
    )
    states += parameters("head", (10, width), 1 / width, 1e-3, role="readout")
    names = tuple(f"blocks.{block} add" for block in range(blocks))
    return Report(
        model="ResidualNet",
        batch="float32 64x64",
        mode="training",
        draws=8,
        places=tuple(run.places),
        parameters=tuple(states),
        loss=Loss(value=6.1e4, said="given", uninformed=log(10), output_std=6.6e4, classes=10),
        growths=(
            Growth(
                direction="forward",
                kind="residual",
                names=names,
                per_layer=2.0,
                interval=(0.94, 1.12),
                total=2.0**31,
            ),
            Growth(
                direction="backward",
                kind="residual",
                names=names,
                per_layer=2.0,
                interval=(0.94, 1.12),
                total=2.0**31,
            ),
        ),
        findings=(
            Finding(
                code="exploding-stream",
                severity="error",
                where="blocks.0 add",
                measured="E x² grows by 2.00 at each of 32 sums",
                expected="0.94 to 1.12 at each sum",
                reason="Every branch adds as much as the stream already has.",
                remedy="plan = fanin.plan(model, batch).replace({'blocks.*.fc.weight': 0})\n"
                "plan.apply(model, seed=0)",
                place=3,
                also=names[1:],
            ),
            Finding(
                code="initial-loss",
                severity="warning",
                where="head",
                measured="a loss of 6.1e4",
                expected="about 2.303, that of equal odds for 10 classes",
                reason="The logits have std 6.6e4 where a model that knows nothing has under 1.",
                remedy="plan = fanin.plan(model, batch).replace({'head.weight': 0})\n"
                "plan.apply(model, seed=0)",
                place=len(run.places) - 1,
            ),
        ),
        versions=VERSIONS,
    )


WIDTH, TOKENS, VOCABULARY = 384, 128, 5000
SCALED = 1 / 24
"""Each of the 24 writers into the stream adds this much to its E x^2."""


def transformer():
    """A pre-norm transformer of 12 blocks whose readout is drawn at std 1 in place of 0.05."""
    run, states = Run(), []
    position = {"position_correlation": 0.35}
    table = Signal(
        second_moment=1.0, size=TOKENS * WIDTH, variance=0.98, correlation=0.02, **position
    )
    shape = (8, TOKENS, WIDTH)
    embedded = replace(table, gradient=2e-9)
    first = run.add(
        "wte",
        "embedding",
        embedded,
        shape=shape,
        inputs=(),
        weight="wte.weight",
    )
    states.append(
        replace(parameters("wte", (VOCABULARY, WIDTH), 1.0, 1e-12)[0], role="embedding", zeros=2e-4)
    )
    second = run.add(
        "wpe",
        "embedding",
        replace(embedded, variance=0.0, correlation=1.0, position_correlation=0.0),
        shape=(TOKENS, WIDTH),
        inputs=(),
        weight="wpe.weight",
    )
    stream = run.add(
        "add",
        "add",
        replace(embedded, second_moment=2.0, correlation=0.5),
        shape=shape,
        inputs=(first, second),
        stream=0,
    )
    for block in range(12):
        stream = transformer_block(run, states, block, stream)
    norm = Signal(second_moment=1.0, size=TOKENS * WIDTH, variance=0.41, correlation=0.59)
    run.add(
        "ln_f",
        "layer_norm",
        replace(norm, gradient=3e-7, position_correlation=0.6),
        shape=shape,
    )
    run.add(
        "lm_head",
        "addmm",
        Signal(
            second_moment=float(WIDTH),
            size=TOKENS * VOCABULARY,
            variance=160.0,
            correlation=0.58,
            position_correlation=0.59,
            gradient=1.2e-10,
        ),
        shape=(8, TOKENS, VOCABULARY),
        weight="lm_head.weight",
    )
    states.append(parameters("lm_head", (VOCABULARY, WIDTH), 1.0, 4e-9, role="readout")[0])
    sums = tuple(place for place in run.places if place.stream == 0)
    return Report(
        model="GPT",
        batch="int64 8x128",
        mode="training",
        seed=0,
        draws=1,
        plan="0011223344556677",
        recipe="gpt2",
        optimizer="adam",
        places=tuple(run.places),
        parameters=tuple(states),
        loss=Loss(
            value=187.3,
            said="the model's own loss",
            uninformed=log(VOCABULARY),
            output_std=WIDTH**0.5,
            classes=VOCABULARY,
        ),
        growths=(
            Growth(
                direction="forward",
                kind="residual",
                names=tuple(place.name for place in sums),
                per_layer=1.0172,
                interval=(0.98, 1.05),
                total=1.5,
            ),
            Growth(
                direction="backward",
                kind="residual",
                names=tuple(place.name for place in sums),
                per_layer=1.02,
                interval=(0.98, 1.05),
                total=1.6,
            ),
        ),
        spectrum=Spectrum(
            first="h.0",
            last="h.11",
            exact=False,
            values=(2.31, 2.27, 2.2, 2.11, 0.41, 0.37, 0.33),
            mean_square=1.49,
            error=0.03,
            inputs=2,
        ),
        predictions=tuple(
            Prediction(index=place.index, second_moment=2.0 + SCALED * order)
            for order, place in enumerate(sums)
        ),
        findings=(
            Finding(
                code="initial-loss",
                severity="error",
                where="lm_head",
                measured="a loss of 187.3 nats",
                expected="about 8.52 nats, ln 5000",
                reason="The readout's weights have std 1, so its logits have std 19.6 and the "
                "softmax bets all on one token before it has seen anything.",
                remedy="from fanin.initializers import Normal\n\n"
                "plan = fanin.plan(model, batch).replace({'lm_head.weight': Normal(0.02)})\n"
                "plan.apply(model, seed=0)",
                place=len(run.places) - 1,
            ),
            Finding(
                code="one-hot-attention",
                severity="warning",
                where="h.11.attn scaled_dot_product_attention",
                measured="entropy 0.46 of that of uniform attention",
                expected="over 0.5",
                reason="The scores of attention have std over 1, so that few keys are seen.",
                remedy="plan = fanin.plan(model, batch, recipe=fanin.recipes.steady)\n"
                "plan.apply(model, seed=0)",
                place=run.places[-10].index,
            ),
            Finding(
                code="frozen-parameter",
                severity="note",
                where="wpe",
                measured="requires_grad is False",
                expected="a table that is trained, or a buffer",
                reason="The table of positions stays as it was drawn.",
                remedy="model.wpe.requires_grad_(True)",
                place=1,
            ),
        ),
        notes=(
            "Dropout was on: the numbers are of one mask.",
            "The spectrum is of 2 inputs, by 30 steps of Lanczos.",
        ),
        versions=VERSIONS,
    )


def transformer_block(run, states, block, stream):
    """Attention and feed-forward, each behind a norm; the number of its second sum."""
    size, cosine = 2.0 + block / 12, 0.5 + 0.008 * block
    back = 2e-9 * 1.04**-block
    shape = (8, TOKENS, WIDTH)

    def signal(moment, *, wide=1):
        return Signal(
            second_moment=moment,
            size=wide * TOKENS * WIDTH,
            variance=moment * (1 - cosine),
            correlation=cosine,
            position_correlation=0.35 + 0.02 * block,
            gradient=back,
        )

    def linear(name, moment, wide, fan_in, spread, role):
        states.extend(parameters(name, (wide * WIDTH, fan_in), spread, back, role=role))
        return run.add(
            name,
            "addmm",
            signal(moment, wide=wide),
            shape=(8, TOKENS, wide * WIDTH),
            weight=f"{name}.weight",
        )

    def add(name, moment, branch):
        return run.add(
            name,
            "add",
            signal(moment),
            shape=shape,
            inputs=(stream, branch),
            stream=0,
        )

    def norm(name):
        return run.add(
            name,
            "layer_norm",
            signal(1.0),
            shape=shape,
            inputs=(stream,),
        )

    path = f"h.{block}"
    norm(f"{path}.ln_1")
    linear(f"{path}.attn.c_attn", 1.0, 3, WIDTH, 1 / WIDTH, "query_key_value")
    run.add(
        f"{path}.attn scaled_dot_product_attention",
        "scaled_dot_product_attention",
        signal(0.05 + 0.02 * block),
        shape=shape,
        kind="attention",
        entropy=0.94 - 0.04 * block - (0.04 if block == 11 else 0.0),
    )
    written = linear(f"{path}.attn.c_proj", SCALED, 1, WIDTH, 1e-3, "residual_out")
    stream = add(f"{path} add", size + SCALED, written)
    norm(f"{path}.ln_2")
    linear(f"{path}.mlp.c_fc", 1.0, 4, WIDTH, 1 / WIDTH, "weight")
    run.add(
        f"{path}.mlp.act",
        "gelu",
        signal(0.425, wide=4),
        shape=(8, TOKENS, 4 * WIDTH),
        dead=0.0,
        saturated=0.06,
    )
    written = linear(f"{path}.mlp.c_proj", SCALED, 1, 4 * WIDTH, 6e-5, "residual_out")
    return add(f"{path} add 2", size + 2 * SCALED, written)


def not_finite():
    """Three layers of which the second holds a NaN: nothing behind it is a number."""
    run, states = Run(), []
    run.add(
        "encoder.fc",
        "addmm",
        Signal(second_moment=1.0, size=32, variance=0.9, correlation=0.1, gradient=nan),
        shape=(16, 32),
        weight="encoder.fc.weight",
    )
    states += parameters("encoder.fc", (32, 8), 1 / 8, nan)
    run.add(
        "decoder.fc",
        "addmm",
        Signal(second_moment=1.1, size=32, finite=0.96875, gradient=nan),
        shape=(16, 32),
        weight="decoder.fc.weight",
    )
    broken, shift = parameters("decoder.fc", (32, 32), 1 / 32, nan)
    states += [replace(broken, finite=0.999), replace(shift, gradient=None)]
    run.add(
        "head",
        "addmm",
        Signal(second_moment=0.0, size=4, finite=0.0, gradient=inf),
        shape=(16, 4),
        weight="head.weight",
    )
    states += parameters("head", (4, 32), 1 / 32, inf, role="readout")
    return Report(
        model="Autoencoder <of 'names' & signs>",
        batch="float32 16x8",
        mode="evaluation",
        optimizer="sgd",
        learning_rate=0.1,
        places=tuple(run.places),
        parameters=tuple(states),
        loss=Loss(value=nan, said="a random direction in place of a loss"),
        findings=(
            Finding(
                code="not-finite",
                severity="error",
                where="decoder.fc.weight",
                measured="0.1 % of its entries are not finite",
                expected="numbers",
                reason="One NaN in a weight makes every output behind it NaN.",
                remedy="fanin.plan(model, batch).apply(model, seed=0)",
                place=1,
                also=("head.weight",),
            ),
        ),
        notes=("No statistics behind decoder.fc: its output is not finite.",),
        versions=VERSIONS,
    )


ALL = (healthy, vanishing, exploding, transformer, not_finite)


def warned():
    """The transformer with nothing worse than a warning."""
    found = transformer()
    return replace(found, findings=found.findings[1:])


def noted():
    """The transformer with nothing worse than a note."""
    found = transformer()
    return replace(found, findings=found.findings[2:])
