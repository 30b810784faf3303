"""The exercises of lesson 00 Start here."""

from .exercise import Exercise

EXERCISES = {
    "0.1": Exercise(25.0, {
        "You added the standard deviations. Variances add: square both first.": 7.0,
        "You squared the sum. Square each standard deviation, then add.": 49.0,
        "That is the standard deviation, √(3² + 4²). The question asks for the variance.": 5.0,
    }, hint="A variance is a standard deviation squared. Independent variances add."),
    "0.2": Exercise((2.0, 0.25), {
        "The variance takes the square of the factor.": (2.0, 0.5),
        "The added constant moves the mean and leaves the variance alone.": (2.0, 1.25),
        "The factor on the variance is its square, and the added constant only moves the mean.": (2.0, 1.5),
    }, hint="Mean: ½ · 2 + 1. And the variance?"),
    "0.3": Exercise(0.5625, {
        "That is how often it fires on a seven. You need how often it is a seven when it fires.": 0.9,
        "You left out the prior: weigh both likelihoods by how common their class is.": 0.75,
        "That is the joint probability. Divide it by the probability that the detector fires.": 0.27,
    }, hint="Bayes: P(seven | fires) = P(fires | seven) P(seven) / P(fires)."),
    "0.4": Exercise(2.0, {
        "You left out the factor 1/2.": 4.0,
        "Square the distance between the means.": 1.0,
    }, hint="Put the means 0 and 2 and the variance 1 into the formula."),
    "0.5": Exercise((8, 1, 28, 28), {
        "Broadcasting lines shapes up from the right: (8, 1, 1, 1) stretches over each image.": (8, 8, 28, 28),
        "The smaller tensor stretches; the result is as large as the larger one.": (8, 1, 1, 1),
    }, hint="Line the two shapes up. Where one has a 1, it takes the other's size."),
}
