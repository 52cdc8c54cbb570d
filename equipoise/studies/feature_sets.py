"""What is learnt from training sets that hold only robust, or only non-robust, features.

    robust           every image replaced by one that a robust classifier sees as the same; labels kept
    non-robust       the same with a standard classifier
    random           images pushed within the threat to a random other class of a standard classifier, which is the label
    deterministic    likewise, to the next class

A standard classifier is trained on each and judged on real test images: as they are, and attacked.

References:
    Adversarial examples are not bugs, they are features (Ilyas et al., 2019), https://arxiv.org/abs/1905.02175
"""
