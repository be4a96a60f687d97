"""Draw from a model of the course Learning to Denoise, in the manner of diffusers."""

import inspect
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

# What each prediction says of x_0, where x = a x_0 + b eps.
TO_X0 = {
    "eps": lambda output, x, a, b: (x - b * output) / a,
    "x0": lambda output, x, a, b: output,
    "v": lambda output, x, a, b: (a * x - b * output) / (a**2 + b**2),
    "score": lambda output, x, a, b: (x + b**2 * output) / a,
    "flow": lambda output, x, a, b: (x - b * output) / (a + b),
}


class LearningToDenoisePipeline(DiffusionPipeline):
    """A network, the scheduler that draws with it, and for latents the autoencoder that makes pictures of them.

    Where the model has a table of noise levels, the scheduler is told x_0 (its prediction_type is "sample"), and any other scheduler for
    variance-preserving tables may take its place: DDIM's, DDPM's, DPM-Solver's.
    """

    _optional_components = ["autoencoder"]  # noqa: RUF012 (as diffusers declares it)

    def __init__(self, network: Any, scheduler: Any, autoencoder: Any = None) -> None:
        super().__init__()
        self.register_modules(network=network, scheduler=scheduler, autoencoder=autoencoder)

    def levels(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """The times that the network is told, and the signal and noise there, each `(steps + 1,)` with the data at the end, float64.

        The scheduler is set to these steps. Raises ValueError unless there is at least one.
        """
        if steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1; got {steps}")
        schedule, end = self.network.config.schedule, torch.zeros(1, dtype=torch.float64)
        if schedule["kind"] == "table":
            T = self.scheduler.config.num_train_timesteps
            if steps > T:
                raise ValueError(f"num_inference_steps must be at most {T}, as many as the model has; got {steps}")
            wanted = (
                torch.linspace(T, 0, steps + 1, dtype=torch.float64).round().long()[:-1] - 1
            )  # diffusers counts from 0
            if "timesteps" in inspect.signature(self.scheduler.set_timesteps).parameters:
                self.scheduler.set_timesteps(timesteps=wanted.tolist())
            else:
                self.scheduler.set_timesteps(steps)
            found = self.scheduler.timesteps.cpu()
            alpha_bar = self.scheduler.alphas_cumprod.cpu().double()[found.long()]
            times, noise = torch.cat([found + 1.0, end]), torch.cat([(1 - alpha_bar).sqrt(), end])
            return times.double(), torch.cat([alpha_bar.sqrt(), end + 1]), noise
        if schedule["kind"] == "straight":
            noise = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
            signal = 1 - noise
        else:  # the levels of Karras et al. (2022), equation 5
            root = 1 / schedule["rho"]
            top, low = schedule["sigma_max"] ** root, schedule["sigma_min"] ** root
            noise = torch.cat(
                [(top + torch.linspace(0, 1, steps, dtype=torch.float64) * (low - top)) ** schedule["rho"], end]
            )
            signal = torch.ones_like(noise)
        self.scheduler.set_timesteps(
            sigmas=noise[:-1].tolist()
        )  # whose step is Euler's, x + (its change) (x - x_0) / noise
        return noise, signal, noise

    def told(self, labels: Any, n: int, scale: float) -> Tensor | None:
        """The classes `(n,)` of n samples: those given, one or n, or each as often; None for a model without classes.

        Raises ValueError for what the model does not know.
        """
        classes = self.network.config.classes
        if classes is None:
            if labels is not None or scale != 1:
                raise ValueError(
                    "the model was trained without classes: class_labels must be None and guidance_scale 1"
                )
            return None
        given = torch.arange(n) * classes // n if labels is None else torch.as_tensor(labels).long()
        if given.shape not in {(), (1,), (n,)}:
            raise ValueError(f"class_labels must be one class, or {n} of them; got the shape {list(given.shape)}")
        wanted = given.expand(n)
        if not bool(((wanted >= 0) & (wanted < classes)).all()):
            raise ValueError(f"class_labels must lie in [0, {classes - 1}]; got {wanted.tolist()}")
        return wanted

    def answer(self, x: Tensor, t: float, a: float, b: float, cond: Tensor | None, scale: float) -> Tensor:
        """x_0-hat of x `(B, ...)`, of its shape, at the time t with signal a and noise b, guided to cond `(B,)` where it is given."""
        config = self.network.config

        def ask(x: Tensor, cond: Tensor | None) -> Tensor:
            times = torch.full((len(x),), t, device=x.device, dtype=torch.float32)
            output = self.network(x.to(self.network.dtype), times, None if cond is None else cond.to(x.device))
            return TO_X0[config.prediction](output.to(x.dtype), x, a, b)

        if cond is None or config.leaps is not None or scale == 1:
            x0 = ask(x, cond)
        else:  # classifier-free guidance; the null token is the last class but one more
            null = torch.full_like(cond, config.classes)
            guided, free = ask(torch.cat([x, x]), torch.cat([cond, null])).chunk(2)
            x0 = torch.lerp(free, guided, scale)
        return x0 if config.clip is None else x0.clamp(-config.clip, config.clip)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: Any = None,
        guidance_scale: float = 1.0,
        num_inference_steps: int = 50,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw pictures, from noise of the generator's or from `latents` `(batch_size, *shape)`, which are standard normal.

        `class_labels` is one class or one for each picture (None: each as often); `guidance_scale` 1 is the conditional model, and 0 the
        unconditional one. `output_type` is "pil", "np" `(B, H, W, C)` or "pt" `(B, C, H, W)`, both in [0, 1]. Raises ValueError for what
        the model cannot do.
        """
        config, device = self.network.config, self._execution_device
        times, signal, noise = self.levels(num_inference_steps)
        cond = self.told(class_labels, batch_size, guidance_scale)
        if config.leaps is not None and num_inference_steps not in config.leaps:
            raise ValueError(f"num_inference_steps must be one of {config.leaps}, which the model has learned to take")
        shape = (batch_size, *config.shape)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        if latents.shape != shape:
            raise ValueError(f"latents must have shape {shape}; got {tuple(latents.shape)}")
        x = float(noise[0]) * latents.to(device)
        step_options = (
            {"generator": generator} if "generator" in inspect.signature(self.scheduler.step).parameters else {}
        )
        for k, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):  # type: ignore[call-arg, arg-type]
            t, a, b = float(times[k]), float(signal[k]), float(noise[k])
            if config.leaps is not None:
                cond = torch.full((batch_size,), float(times[k + 1]))
            x0 = self.answer(x, t, a, b, cond, guidance_scale)
            output = x0 if config.schedule["kind"] == "table" else (x - x0) / b
            x = self.scheduler.step(output, timestep, x, **step_options).prev_sample
        if self.autoencoder is not None:
            x = self.autoencoder.decode(x.to(self.autoencoder.dtype)).float()
        images = ((x + 1) / 2).clamp(0, 1).cpu()
        if output_type != "pt":
            images = images.movedim(1, -1).numpy()
        if output_type == "pil":
            images = self.numpy_to_pil(images)
        return ImagePipelineOutput(images=images) if return_dict else (images,)  # type: ignore[arg-type]
