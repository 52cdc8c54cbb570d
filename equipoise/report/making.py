"""How the run was made: time and passes spent, and references for exactly what was used."""

from dataclasses import dataclass

from equipoise.probes import (
    Adversarial,
    Backgrounds,
    FeatureUse,
    Gradients,
    Groups,
    LargeEps,
    Regions,
    Saliency,
    load_probe,
)
from equipoise.report.reading import Reading
from equipoise.report.words import count, duration

__all__ = ["Spent", "cite", "costs", "references", "spending"]


@dataclass(frozen=True)
class Spent:
    """What one probe of one classifier took."""

    classifier: str
    probe: str
    seconds: str
    forwards: str
    backwards: str


def costs(reading: Reading) -> list[tuple[str, str, float, int | None, int | None]]:
    """Classifier, probe, seconds, forward passes and backward passes; None of passes that the probe does not count."""
    rows = []
    for judged in reading.classifiers:
        for probe in reading.run.probes:
            facts = reading.facts.get((judged.name, probe))
            if facts:
                columns = reading.columns(probe, judged.name)
                forwards, backwards = (
                    int(columns[key].sum()) if key in columns else None
                    for key in ("forwards", "backwards")
                )
                seconds = sum(f["seconds"] for f in facts)
                rows.append((judged.name, probe, seconds, forwards, backwards))
    return rows


def spending(reading: Reading) -> tuple[list[Spent], str]:
    """Rows by classifier and probe, and the time of all of them together."""
    found = costs(reading)
    rows = [
        Spent(name, probe, duration(seconds), *("" if p is None else count(p) for p in passes))
        for name, probe, seconds, *passes in found
    ]
    return rows, duration(sum(seconds for _, _, seconds, *_ in found))


def references(reading: Reading) -> list[str]:
    """BibTeX of the attacks, the counterfactuals, the training and the intervals that this run used."""
    keys = ["efron1993", "clopper1934"]
    if reading.threats:
        keys += ["rony2019", "pintor2021", "croce2020", "andriushchenko2020", "massart1990"]
        probes = [load_probe(under.spec) for under in reading.threats]
        standard = any(isinstance(p, Adversarial) and p.budget == "standard" for p in probes)
        keys += ["croce2020fab", "athalye2018"] + ([] if standard else ["melamed2024"])
    objectives = {judged.objective for judged in reading.classifiers}
    if objectives & {"pgd", "half-and-half", "adversarial"}:
        keys.append("madry2018")
    keys += ["zhang2019"] if "trades" in objectives else []
    pictured = any(reading.specs(kind) for kind in (Gradients, LargeEps, FeatureUse))
    study = reading.run.study()
    if "half-and-half" in objectives or pictured or study == "odds":
        keys.append("tsipras2019")
    keys += ["moayeri2022"] if study == "spurious" else []
    keys += ["chalasani2020"] if reading.specs(Gradients) else []
    for kind, papers in _OF_PROBES.items():
        keys += papers if reading.specs(kind) else ()
    keys += ["ilyas2019"] if "features" in reading.exhibits else []
    if any(under.threat.norm == "l1" for under in reading.threats):
        keys += ["duchi2008", "croce2021"]
    keys += _of_counterfactuals(reading)
    keys += ["krippendorff2011", "korn1998"] if reading.run.people() else []
    if reading.record["data"]["spec"].partition("?")[0].startswith("digits"):
        keys.append("alpaydin1998")
    return cite(*dict.fromkeys(keys))


def cite(*keys: str) -> list[str]:
    """BibTeX of the papers called `keys`."""
    return [_BIBTEX[key] for key in keys]


def _of_counterfactuals(reading: Reading) -> list[str]:
    """Keys of the papers behind the run's counterfactual sets."""
    drawn = reading.counterfactuals
    methods = {d.settings["method"] for d in drawn}
    # The closed-form mixture is nobody's network, and the exact method has noise levels of its own.
    karras = methods & {"reverse", "sum"} or any(
        d.facts["denoiser"]["name"] != "mixture" for d in drawn
    )
    used = {
        "yeats2024": bool(drawn),
        "karras2022": bool(karras),
        "zhao2023": "exact" in methods,
        "lu2022": "reverse" in methods,
        "ho2022": any(d.settings["guidance"] != 1 for d in drawn),
    }
    return [key for key, so in used.items() if so]


_OF_PROBES = {
    Regions: ("moayeri2022study", "singla2022"),
    Saliency: ("selvaraju2017", "moayeri2022study"),
    Backgrounds: ("xiao2021",),
    Groups: ("sagawa2020",),
}
"""Papers behind probes of objects, backgrounds and groups."""

_BIBTEX = {
    "moayeri2022": """@inproceedings{moayeri2022,
  title = {Explicit Tradeoffs between Adversarial and Natural Distributional Robustness},
  author = {Moayeri, Mazda and Banihashem, Kiarash and Feizi, Soheil},
  booktitle = {NeurIPS}, year = {2022}, eprint = {2209.07592}, archiveprefix = {arXiv}
}""",
    "krippendorff2011": """@techreport{krippendorff2011,
  title = {Computing {Krippendorff}'s Alpha-Reliability},
  author = {Krippendorff, Klaus},
  institution = {University of Pennsylvania}, year = {2011}
}""",
    "korn1998": """@article{korn1998,
  title = {Confidence Intervals for Proportions with Small Expected Number of Positive Counts Estimated from Survey
    Data},
  author = {Korn, Edward L. and Graubard, Barry I.},
  journal = {Survey Methodology}, volume = {24}, year = {1998}
}""",
    "moayeri2022study": """@inproceedings{moayeri2022study,
  title = {A Comprehensive Study of Image Classification Model Sensitivity to Foregrounds, Backgrounds, and Visual
    Attributes},
  author = {Moayeri, Mazda and Pope, Phillip and Balaji, Yogesh and Feizi, Soheil},
  booktitle = {CVPR}, year = {2022}, eprint = {2201.10766}, archiveprefix = {arXiv}
}""",
    "singla2022": """@misc{singla2022,
  title = {Core Risk Minimization using Salient {ImageNet}},
  author = {Singla, Sahil and Moayeri, Mazda and Feizi, Soheil},
  year = {2022}, eprint = {2203.15566}, archiveprefix = {arXiv}
}""",
    "selvaraju2017": """@inproceedings{selvaraju2017,
  title = {{Grad-CAM}: Visual Explanations from Deep Networks via Gradient-Based Localization},
  author = {Selvaraju, Ramprasaath R. and Cogswell, Michael and Das, Abhishek and Vedantam, Ramakrishna and Parikh, Devi
    and Batra, Dhruv},
  booktitle = {ICCV}, year = {2017}, eprint = {1610.02391}, archiveprefix = {arXiv}
}""",
    "xiao2021": """@inproceedings{xiao2021,
  title = {Noise or Signal: The Role of Image Backgrounds in Object Recognition},
  author = {Xiao, Kai and Engstrom, Logan and Ilyas, Andrew and Madry, Aleksander},
  booktitle = {ICLR}, year = {2021}, eprint = {2006.09994}, archiveprefix = {arXiv}
}""",
    "sagawa2020": """@inproceedings{sagawa2020,
  title = {Distributionally Robust Neural Networks for Group Shifts: On the Importance of Regularization for Worst-Case
    Generalization},
  author = {Sagawa, Shiori and Koh, Pang Wei and Hashimoto, Tatsunori B. and Liang, Percy},
  booktitle = {ICLR}, year = {2020}, eprint = {1911.08731}, archiveprefix = {arXiv}
}""",
    "chalasani2020": """@inproceedings{chalasani2020,
  title = {Concise Explanations of Neural Networks using Adversarial Training},
  author = {Chalasani, Prasad and Chen, Jiefeng and Chowdhury, Amrita Roy and Wu, Xi and Jha, Somesh},
  booktitle = {ICML}, year = {2020}, eprint = {1810.06583}, archiveprefix = {arXiv}
}""",
    "ilyas2019": """@inproceedings{ilyas2019,
  title = {Adversarial Examples Are Not Bugs, They Are Features},
  author = {Ilyas, Andrew and Santurkar, Shibani and Tsipras, Dimitris and Engstrom, Logan and Tran, Brandon and
    Madry, Aleksander},
  booktitle = {NeurIPS}, year = {2019}, eprint = {1905.02175}, archiveprefix = {arXiv}
}""",
    "rony2019": """@inproceedings{rony2019,
  title = {Decoupling Direction and Norm for Efficient Gradient-Based {L2} Adversarial Attacks and Defenses},
  author = {Rony, J{\\'e}r{\\^o}me and Hafemann, Luiz G. and Oliveira, Luiz S. and Ben Ayed, Ismail and Sabourin, Robert
    and Granger, Eric},
  booktitle = {CVPR}, year = {2019}, eprint = {1811.09600}, archiveprefix = {arXiv}
}""",
    "pintor2021": """@inproceedings{pintor2021,
  title = {Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints},
  author = {Pintor, Maura and Roli, Fabio and Brendel, Wieland and Biggio, Battista},
  booktitle = {NeurIPS}, year = {2021}, eprint = {2102.12827}, archiveprefix = {arXiv}
}""",
    "croce2020": """@inproceedings{croce2020,
  title = {Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks},
  author = {Croce, Francesco and Hein, Matthias},
  booktitle = {ICML}, year = {2020}, eprint = {2003.01690}, archiveprefix = {arXiv}
}""",
    "croce2020fab": """@inproceedings{croce2020fab,
  title = {Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack},
  author = {Croce, Francesco and Hein, Matthias},
  booktitle = {ICML}, year = {2020}, eprint = {1907.02044}, archiveprefix = {arXiv}
}""",
    "andriushchenko2020": """@inproceedings{andriushchenko2020,
  title = {Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search},
  author = {Andriushchenko, Maksym and Croce, Francesco and Flammarion, Nicolas and Hein, Matthias},
  booktitle = {ECCV}, year = {2020}, eprint = {1912.00049}, archiveprefix = {arXiv}
}""",
    "melamed2024": """@inproceedings{melamed2024,
  title = {{MALT} Powers Up Adversarial Attacks},
  author = {Melamed, Odelia and Yehudai, Gilad and Shamir, Adi},
  booktitle = {NeurIPS}, year = {2024}, eprint = {2407.02240}, archiveprefix = {arXiv}
}""",
    "croce2021": """@inproceedings{croce2021,
  title = {Mind the Box: l1-{APGD} for Sparse Adversarial Attacks on Image Classifiers},
  author = {Croce, Francesco and Hein, Matthias},
  booktitle = {ICML}, year = {2021}, eprint = {2103.01208}, archiveprefix = {arXiv}
}""",
    "athalye2018": """@inproceedings{athalye2018,
  title = {Obfuscated Gradients Give a False Sense of Security: Circumventing Defenses to Adversarial Examples},
  author = {Athalye, Anish and Carlini, Nicholas and Wagner, David},
  booktitle = {ICML}, year = {2018}, eprint = {1802.00420}, archiveprefix = {arXiv}
}""",
    "madry2018": """@inproceedings{madry2018,
  title = {Towards Deep Learning Models Resistant to Adversarial Attacks},
  author = {Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and Vladu, Adrian},
  booktitle = {ICLR}, year = {2018}, eprint = {1706.06083}, archiveprefix = {arXiv}
}""",
    "zhang2019": """@inproceedings{zhang2019,
  title = {Theoretically Principled Trade-off between Robustness and Accuracy},
  author = {Zhang, Hongyang and Yu, Yaodong and Jiao, Jiantao and Xing, Eric P. and El Ghaoui, Laurent and
    Jordan, Michael I.},
  booktitle = {ICML}, year = {2019}, eprint = {1901.08573}, archiveprefix = {arXiv}
}""",
    "tsipras2019": """@inproceedings{tsipras2019,
  title = {Robustness May Be at Odds with Accuracy},
  author = {Tsipras, Dimitris and Santurkar, Shibani and Engstrom, Logan and Turner, Alexander and Madry, Aleksander},
  booktitle = {ICLR}, year = {2019}, eprint = {1805.12152}, archiveprefix = {arXiv}
}""",
    "duchi2008": """@inproceedings{duchi2008,
  title = {Efficient Projections onto the l1-Ball for Learning in High Dimensions},
  author = {Duchi, John and Shalev-Shwartz, Shai and Singer, Yoram and Chandra, Tushar},
  booktitle = {ICML}, year = {2008}, doi = {10.1145/1390156.1390191}
}""",
    "massart1990": """@article{massart1990,
  title = {The Tight Constant in the {Dvoretzky-Kiefer-Wolfowitz} Inequality},
  author = {Massart, Pascal},
  journal = {The Annals of Probability}, volume = {18}, number = {3}, pages = {1269--1283}, year = {1990},
  doi = {10.1214/aop/1176990746}
}""",
    "yeats2024": """@misc{yeats2024,
  title = {Do Counterfactual Examples Complicate Adversarial Training?},
  author = {Yeats, Eric and Darwin, Cameron and Ortega, Eduardo and Liu, Frank and Li, Hai},
  year = {2024}, eprint = {2404.10588}, archiveprefix = {arXiv}
}""",
    "karras2022": """@inproceedings{karras2022,
  title = {Elucidating the Design Space of Diffusion-Based Generative Models},
  author = {Karras, Tero and Aittala, Miika and Aila, Timo and Laine, Samuli},
  booktitle = {NeurIPS}, year = {2022}, eprint = {2206.00364}, archiveprefix = {arXiv}
}""",
    "zhao2023": """@inproceedings{zhao2023,
  title = {{UniPC}: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models},
  author = {Zhao, Wenliang and Bai, Lujia and Rao, Yongming and Zhou, Jie and Lu, Jiwen},
  booktitle = {NeurIPS}, year = {2023}, eprint = {2302.04867}, archiveprefix = {arXiv}
}""",
    "lu2022": """@misc{lu2022,
  title = {{DPM-Solver++}: Fast Solver for Guided Sampling of Diffusion Probabilistic Models},
  author = {Lu, Cheng and Zhou, Yuhao and Bao, Fan and Chen, Jianfei and Li, Chongxuan and Zhu, Jun},
  year = {2022}, eprint = {2211.01095}, archiveprefix = {arXiv}
}""",
    "ho2022": """@misc{ho2022,
  title = {Classifier-Free Diffusion Guidance},
  author = {Ho, Jonathan and Salimans, Tim},
  year = {2022}, eprint = {2207.12598}, archiveprefix = {arXiv}
}""",
    "efron1993": """@book{efron1993,
  title = {An Introduction to the Bootstrap},
  author = {Efron, Bradley and Tibshirani, Robert J.},
  publisher = {Chapman and Hall}, year = {1993}
}""",
    "clopper1934": """@article{clopper1934,
  title = {The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial},
  author = {Clopper, C. J. and Pearson, E. S.},
  journal = {Biometrika}, volume = {26}, number = {4}, pages = {404--413}, year = {1934},
  doi = {10.1093/biomet/26.4.404}
}""",
    "holm1979": """@article{holm1979,
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  author = {Holm, Sture},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2}, pages = {65--70}, year = {1979}
}""",
    "mcnemar1947": """@article{mcnemar1947,
  title = {Note on the Sampling Error of the Difference between Correlated Proportions or Percentages},
  author = {McNemar, Quinn},
  journal = {Psychometrika}, volume = {12}, number = {2}, pages = {153--157}, year = {1947},
  doi = {10.1007/BF02295996}
}""",
    "alpaydin1998": """@misc{alpaydin1998,
  title = {Optical Recognition of Handwritten Digits},
  author = {Alpaydin, E. and Kaynak, C.},
  howpublished = {UCI Machine Learning Repository}, year = {1998}, doi = {10.24432/C50P49}
}""",
}
