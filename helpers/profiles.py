"""How much work a notebook does: one table of sizes, one column a profile, chosen by the card.

Knows the card's size; must not learn what a notebook does with a number.
"""

import os

PROFILES = ("quick", "t4", "full")
SMALL_CARD = 60  # multiprocessors below which "auto" means "t4"

# quick: no GPU, every cell still executes and checks; t4: fewer than SMALL_CARD multiprocessors; full: the rest
SIZES = {
    "train_samples": (96, 60_000, 60_000),
    "test_samples": (48, 10_000, 10_000),
    "batch_size": (8, 128, 128),
    "epochs": (1, 5, 10),
    "agreement_steps": (3, 20, 20),  # steps over which the engines' losses are compared
    "loops_samples": (256, 1_280, 2_560),  # training samples for the sequential loops on one core
    "vectorized_samples": (6_400, 12_800, 60_000),
    "vectorized_epochs": (3, 5, 10),
    "gradient_check_values": (10, 30, 30),  # weights perturbed a layer
    "kernel_batch": (2, 128, 128),  # images a kernel of a ladder works on
    "timing_runs": (3, 9, 9),
    "resident_batch": (4, 128, 128),  # notebook 03: its kernels run in the simulator in "quick"
    "equal_steps": (1, 468, 468),  # steps of two runs whose bits are compared
    "learning_samples": (2_560, 60_000, 60_000),
    "learning_tests": (500, 10_000, 10_000),
    "learning_batch": (32, 128, 128),
    "learning_epochs": (3, 5, 10),
    "compared_batch": (8, 128, 128),
    "compared_steps": (100, 100, 100),  # at most those of an epoch
    "compared_runs": (3, 7, 7),
}


def resolve(profile="auto"):
    """Name of the profile to use: `profile`, or for "auto" what CNN_PROFILE or the card says.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if profile == "auto":
        profile = os.environ.get("CNN_PROFILE", "auto")
    if profile == "auto":
        from helpers.device import device_properties, gpu_available

        if not gpu_available():
            return "quick"
        return "t4" if device_properties().multiprocessors < SMALL_CARD else "full"
    if profile not in PROFILES:
        raise ValueError(f"profile is {profile!r}; expected 'auto', {', '.join(map(repr, PROFILES))}")
    return profile


def profile_sizes(profile="auto"):
    """Sizes of `profile`, a dict from the names of `SIZES` to int."""
    column = PROFILES.index(resolve(profile))
    return {name: values[column] for name, values in SIZES.items()}
