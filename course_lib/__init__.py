"""The library that *Learning to Denoise* explains: diffusion models from first principles.

A diffusion model is a composition of small parts: a schedule, a process, a prediction, a denoiser, a step.
Each part lives in a module of its own, and each chapter of the book shows the code that it derives.
"""
