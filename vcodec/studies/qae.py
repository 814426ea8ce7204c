"""`vcodec study qae`: the experiment of the paper quantized-autoencoder, and what its section IV leaves to do.

    K = 128 ─► a start for all ─┬─► K = 2, 4, … 128, a model each      separate      figures 2 and 3
                                └─► all K in one network                conditional ─► rate in the loss     rd

Every point is a whole file of all test clips, written and read back; finished trainings and points are not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vcodec.checkpoint import save_codec
from vcodec.datasets.moving_digits import MovingDigits
from vcodec.entropy.neighbours import NeighbourRate
from vcodec.errors import InputError
from vcodec.studies.anchors import ANCHORS, anchor_curve
from vcodec.studies.clips import draw, open_digits, write_clips
from vcodec.studies.fitting import Fit, History, claim, fit, stopped
from vcodec.studies.layers import fit_layers
from vcodec.studies.measuring import Point, decoded_clips, measure, source_clips
from vcodec.studies.models import Autoencoder, new_autoencoder
from vcodec.studies.report import bd_rates, figure2, figure3, write_tables
from vcodec.training.reconstruction import freeze_neighbours

__all__ = ["KS", "SCALES", "Scale", "Study", "run"]

KS = (2, 4, 8, 16, 32, 64, 128)
SHOWN = (2, 16, 64, 128)  # in figure 2
HELD_BACK = 12  # one digit of so many
PRICE = 0.5  # λ of a K: this much of distortion over rate, as the conditional model has them


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    width: int
    """channels of the network, 128 in the paper"""
    establish: int
    """steps at K = 128 before the models part"""
    each: int
    """further steps of each separate model"""
    conditional: int
    """further steps of the one model for all K"""
    rd: int
    """steps of it with the rate in the loss"""
    clips: int
    """test clips"""
    layers: int
    """steps of `qae:layers`"""
    digits: int
    """that its tables of grey levels are counted on"""
    batch: int = 4
    """clips in a step"""
    held: int = 16
    """held-back clips looked at"""


SCALES = {
    "quick": Scale(width=16, establish=120, each=40, conditional=120, rd=60, clips=10, layers=100, digits=1000, held=8),
    "hour": Scale(
        width=48, establish=2000, each=500, conditional=3500, rd=300, clips=200, layers=500, digits=12000, batch=2
    ),
    "paper": Scale(
        width=128,
        establish=20000,
        each=10000,
        conditional=70000,
        rd=20000,
        clips=1000,
        layers=5000,
        digits=55000,
        held=64,
    ),
}


@dataclass
class Study:
    """Where a study stands and what it works with."""

    folder: Path
    scale: Scale
    train: MovingDigits
    held: MovingDigits
    test: Path
    show: Callable[[str], None]
    seed: int = 0

    def fitted(self, name: str, model: Autoencoder, plan: Fit, ks: tuple[int, ...], price: dict[int, float]) -> History:
        """Train ``model``, one K a step in turn; price: λ of each K where rate counts."""
        clips = draw(self.held, 10**9, 0, self.scale.held)

        def cost(clip: torch.Tensor, k: int) -> torch.Tensor:
            error, bpp = model(clip, k)
            total: torch.Tensor = error + price.get(k, 0.0) * bpp
            return total

        def held() -> float:
            parts = torch.split(clips, self.scale.batch)
            return sum(float(cost(part, k)) for part in parts for k in ks) / (len(parts) * len(ks))

        def loss(step: int) -> torch.Tensor:
            return cost(draw(self.train, self.seed, step, self.scale.batch), ks[step % len(ks)])

        return fit(model, loss, held, self.folder / "runs" / name, plan, self.show)

    def model(self, name: str) -> Path:
        """Where a model's codec file is."""
        return self.folder / "models" / f"{name}.safetensors"

    def kept(self, name: str, model: Autoencoder, codec: str) -> Path:
        """The model as a codec file, its tables counted on training clips."""
        path = self.model(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = freeze_neighbours(codec, model.parts, self.train, seed=self.seed)
        save_codec(made, path, {"study": "qae", "model": name, **asdict(self.scale)})
        return path

    def point(self, name: str, weights: Path, k: int) -> Point:
        """Rate and distortion of a model at K."""
        path = self.folder / "points" / f"{name}-k{k}.json"
        return measure(path, self.test, weights, k, self.show)


def run(
    folder: Path,
    scale: str = "quick",
    *,
    mnist: bool = True,
    mnist_dir: Path | None = None,
    threads: int | None = None,
    seed: int = 0,
    show: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The whole experiment into ``folder``: README.md, study.json, figure2.png, figure3.png; returns what study.json
    holds.  Its models, runs and points stand beside; called again, it goes on where it stopped.

    mnist: Moving MNIST (mnist_dir: where its files are), else moving-digits.  Raises InputError.
    """
    if scale not in SCALES:
        raise InputError(f"no scale '{scale}'; there are {', '.join(SCALES)}")
    if threads:
        torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    study = _open(folder, scale, mnist, mnist_dir, seed, show)
    results: dict[str, Any] = {
        "command": f"vcodec study qae --scale {scale}{'' if mnist else ' --drawn'}",
        "settings": asdict(study.scale),
        "seed": seed,
        "mnist": mnist,
    }
    results["separate"] = separate(study)
    results["conditional"] = conditional(study)
    results["rd"] = rate_distortion(study, results["conditional"])
    results["layers"] = layers(study)
    results["anchors"] = {name: anchor_curve(folder / "points", name, study.test, show) for name in ANCHORS}
    results["bd_rate"] = bd_rates(results)
    pictures = {
        k: next(decoded_clips(folder / "points" / f"separate-k{k}.vae", study.model(f"separate-k{k}"))) for k in SHOWN
    }
    figure2(folder / "figure2.png", next(source_clips(study.test)), pictures)
    figure3(folder / "figure3.png", results)
    write_tables(folder, results)
    return results


def _open(
    folder: Path, scale: str, mnist: bool, mnist_dir: Path | None, seed: int, show: Callable[[str], None]
) -> Study:
    asked = {"scale": scale, "mnist": mnist, "seed": seed, **asdict(SCALES[scale])}
    claim(folder, asked)
    train, held = open_digits("train", mnist=mnist, folder=mnist_dir, seed=seed).split(HELD_BACK)
    test = folder / "test.y4m"
    if not test.exists():
        digits = open_digits("test", mnist=mnist, folder=mnist_dir, seed=seed)
        write_clips(test, digits, SCALES[scale].clips, colour=False)
    return Study(folder, SCALES[scale], train, held, test, show, seed)


def established(study: Study) -> dict[str, torch.Tensor]:
    """Weights to start from: the network trained at K = 128, "to establish reconstruction ability"."""
    model = new_autoencoder("qae:paper", study.scale.width, KS[-1:])
    plan = Fit(study.scale.establish)
    study.fitted("established", model, plan, KS[-1:], {})
    return model.backbone.state_dict()


def separate(study: Study) -> list[dict[str, Any]]:
    """A model for each K, trained alike, and where each rule would have stopped it."""
    start = established(study)
    out = []
    for k in KS:
        torch.manual_seed(study.seed)
        model = new_autoencoder("qae:paper", study.scale.width, (k,))
        model.backbone.load_state_dict(start)
        history = study.fitted(f"separate-k{k}", model, Fit(study.scale.each), (k,), {})
        weights = study.kept(f"separate-k{k}", model, "qae:paper")
        stops = {rule: stopped(history, rule) for rule in ("one-percent", "patience")}
        out.append({"k": k, **study.point("separate", weights, k).facts(), "stops": stops, "history": history})
    return out


def conditional(study: Study) -> list[dict[str, Any]]:
    """One network for all K."""
    model = new_autoencoder("qae:paper-conditional", study.scale.width, KS)
    start = established(study)
    # every K's batch norms start as the one that was trained
    wide = {n: start[_shared(n)] for n in model.backbone.state_dict()}
    model.backbone.load_state_dict(wide)
    history = study.fitted("conditional", model, Fit(study.scale.conditional), KS, {})
    weights = study.kept("conditional", model, "qae:paper-conditional")
    points = [{"k": k, **study.point("conditional", weights, k).facts()} for k in KS]
    points[0]["history"] = history
    return points


def _shared(name: str) -> str:
    """Name of a conditional backbone's tensor in one for a single K."""
    head, found, rest = name.partition(".norms.")
    return f"{head}{found}0.{rest.partition('.')[2]}" if found else name


def layers(study: Study) -> list[dict[str, Any]]:
    """`qae:layers` over all its K."""
    scale = study.scale
    weights = fit_layers(study.folder, study.train, study.held, scale.layers, scale.digits, study.seed, study.show)
    return [{"k": k, **study.point("layers", weights, k).facts()} for k in (*KS, 256)]


def rate_distortion(study: Study, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The network for all K, trained on with the rate of its entropy model in the loss."""
    model = new_autoencoder("qae:paper-conditional", study.scale.width, KS)
    model.rate = NeighbourRate(model.backbone.latent_channels, KS)
    base = new_autoencoder("qae:paper-conditional", study.scale.width, KS)
    plan = Fit(study.scale.conditional)
    study.fitted("conditional", base, plan, KS, {})
    model.load_state_dict(base.state_dict(), strict=False)
    price = {p["k"]: PRICE * p["mse"] / p["bpp"] for p in before}
    history = study.fitted("rd", model, Fit(study.scale.rd, rate=1e-3), KS, price)
    weights = study.kept("rd", model, "qae:paper-conditional")
    points = [{"k": k, **study.point("rd", weights, k).facts()} for k in KS]
    points[0]["history"] = history
    return points
