"""Stages of training: what they add up, the compiled step, the loop around it, checkpoints, devices."""
