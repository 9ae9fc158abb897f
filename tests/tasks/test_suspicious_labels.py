"""Labels that look wrong, on features whose truth is known."""

from clouds import clouds
from maxvit.tasks.classification.suspicious_labels import find_suspicious


def test_wrong_labels_are_found_with_the_class_that_they_look_like():
    features, labels = clouds(apart=40)
    given = [*labels]
    given[7], given[20] = 2, 0  # they were 1 and 2
    found = find_suspicious(features, given)
    assert {(one.image, one.likely) for one in found} == {(7, 1), (20, 2)}
    assert all(one.likely_probability > 30 * one.given_probability for one in found)


def test_the_least_probable_label_comes_first():
    features, labels = clouds(apart=40)
    given = [*labels]
    given[7], given[20] = 2, 0
    own = [one.given_probability for one in find_suspicious(features, given)]
    assert own == sorted(own)


def test_classes_that_cannot_be_told_apart_are_not_suspicious():
    assert find_suspicious(*clouds(apart=0)) == []


def test_labels_keep_their_numbers_where_a_class_is_missing():
    features, labels = clouds(apart=40)
    given = [(3, 7, 8)[label] for label in labels]
    given[7] = 8
    assert [(one.image, one.likely) for one in find_suspicious(features, given)] == [(7, 7)]
