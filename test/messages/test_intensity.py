"""Intensity of a cloud: which field it is in, and what its numbers are divided by."""

import numpy as np
import pytest
from builders.packed_clouds import XYZ, cloud_message, some_points

from cmdfusion_ros.messages.clouds import (
    MessageError,
    guess_intensity_scale,
    read_cloud,
)


def intensity_of(values, kind="f4", name="intensity", **options):
    columns = {
        "x": [1.0] * len(values),
        "y": [2.0] * len(values),
        "z": [3.0] * len(values),
        name: values,
    }
    return read_cloud(cloud_message(columns, [*XYZ, (name, kind)]), **options)


@pytest.mark.parametrize(
    ("kind", "values", "scale"),
    [
        ("f4", [0.0, 0.25, 1.0], 1.0),
        ("f4", [0.0, 51.0, 255.0], 255.0),
        ("f4", [0.0, 300.0, 65535.0], 65535.0),
        ("u1", [0, 1, 1], 255.0),
        ("u2", [0, 1, 200], 255.0),
        ("u2", [0, 1, 30000], 65535.0),
        ("f8", [0.0, 0.5, 0.75], 1.0),
        ("i4", [0, 5, 100], 255.0),
    ],
)
def test_the_scale_of_an_intensity_follows_its_type_and_range(kind, values, scale):
    cloud = intensity_of(values, kind)
    assert (cloud.intensity_scale, cloud.intensity_field) == (scale, "intensity")
    np.testing.assert_allclose(cloud.intensity, np.array(values) / scale, rtol=1e-6)
    assert cloud.intensity.dtype == np.float32


def test_a_given_scale_is_taken_as_it_is_and_what_is_over_becomes_one():
    cloud = intensity_of([0.0, 50.0, 100.0, 400.0], intensity_scale=100.0, least_scale=255.0)
    np.testing.assert_allclose(cloud.intensity, [0, 0.5, 1, 1])
    assert cloud.intensity_scale == 100.0


def test_a_dark_scan_does_not_change_what_the_numbers_mean():
    bright = intensity_of([0.0, 100.0, 250.0])
    dark = intensity_of([0.0, 0.5, 0.9], least_scale=bright.intensity_scale)
    assert dark.intensity_scale == 255.0
    assert intensity_of([0.0, 60000.0], least_scale=255.0).intensity_scale == 65535.0


def test_a_few_reflectors_do_not_darken_the_rest():
    assert intensity_of([0.5] * 995 + [40.0] * 5).intensity_scale == 1.0


def test_points_that_are_none_do_not_decide_the_scale():
    values, usable = (
        np.array([0.5, 0.7, 9999.0, np.nan], np.float32),
        np.array([True, True, False, True]),
    )
    assert guess_intensity_scale(values, usable) == 1.0


def test_nan_and_negative_intensities_are_zero(recwarn):
    np.testing.assert_array_equal(
        intensity_of([np.nan, -3.0, 1.0, -np.inf, np.inf]).intensity, [0, 0, 1, 0, 1]
    )
    assert not recwarn.list


@pytest.mark.parametrize("options", [{"intensity_field": "none"}, {"intensity_field": "auto"}])
def test_no_intensity_is_zeros_and_says_so(options):
    columns = {**some_points()[1], "colour": [1.0] * 12}
    cloud = read_cloud(cloud_message(columns, [*XYZ, ("colour", "f4")]), **options)
    assert cloud.intensity_field == "" and not cloud.intensity.any()


def test_reflectivity_stands_in_for_intensity_and_a_name_beats_both():
    columns = {**some_points()[1], "reflectivity": [51] * 12, "intensity": [102.0] * 12}
    names = [*XYZ, ("reflectivity", "u1"), ("intensity", "f4")]
    assert read_cloud(cloud_message(columns, names[:4])).intensity_field == "reflectivity"
    assert read_cloud(cloud_message(columns, names)).intensity_field == "intensity"
    named = read_cloud(cloud_message(columns, names), intensity_field="reflectivity")
    np.testing.assert_allclose(named.intensity, 0.2, rtol=1e-6)


def test_a_named_intensity_that_is_not_there_is_an_error():
    with pytest.raises(MessageError, match="expected one field 'remission', got 0 among x, y, z"):
        read_cloud(cloud_message(some_points()[1]), intensity_field="remission")
