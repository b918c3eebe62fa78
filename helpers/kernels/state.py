"""The int32 words of `state` that live on the card and steer a captured step.

Two counters let a captured graph advance without a race: softmax_cross_entropy copies STEP to CURRENT, and the last
kernel of the step reads only CURRENT and writes STEP = CURRENT + 1, so no kernel reads the word it writes.
"""

STEP = 0  # batch that load_batch reads next
CURRENT = 1  # batch that is being worked on
EPOCH = 2
SEED = 3
SAMPLES = 4  # samples of the split in use
SHUFFLE = 5  # 1: permuted order; 0: in order, indices beyond the last sample repeat it and do not count
STATUS = 6  # 0, or 1 + the first step whose loss was not finite
WORDS = 8
