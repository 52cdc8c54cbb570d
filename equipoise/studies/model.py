"""The paper's model: rules that are known in closed form beside rules fitted to samples of it.

Two settings with p = 0.95 and d = 100 weak features: one of mean 2 / sqrt(d), in which some accuracy and some
robustness go together, and that of mean 4 / sqrt(d), which theorem 2.2 is about. Radii are twice the mean. Rules are
fitted by logistic regression, standard and adversarial, which the paper says behaves like its support vector machine;
their accuracies are exact, since the model knows those of any linear rule.
"""
