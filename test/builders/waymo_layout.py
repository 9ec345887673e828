"""Writes a segment in the layout and the schema of the Waymo Open Dataset, version 2.

Column names and Arrow types are those of `waymo_open_dataset.v2` (perception: lidar.py,
context.py, pose.py, segmentation.py, camera_image.py).
"""

import numpy as np

SEGMENT = "10017090168044687777_6380_000_6400_000"


def types():
    """{folder: {column: Arrow type}}."""
    import pyarrow as pa

    floats, ints, shape = pa.list_(pa.float32()), pa.list_(pa.int32()), pa.list_(pa.int32(), 3)
    matrix, segment = pa.list_(pa.float64(), 16), {"key.segment_context_name": pa.string()}
    frame = {**segment, "key.frame_timestamp_micros": pa.int64()}
    laser, camera = {"key.laser_name": pa.int8()}, {"key.camera_name": pa.int8()}

    def images(component, values, numbers=(1, 2)):
        return {
            f"[{component}].range_image_return{number}.{what}": kind
            for number in numbers
            for what, kind in (("values", values), ("shape", shape))
        }

    inclination, lens = (
        "[LiDARCalibrationComponent].beam_inclination",
        "[CameraCalibrationComponent]",
    )
    return {
        "lidar": {**frame, **laser, **images("LiDARComponent", floats)},
        "lidar_segmentation": {
            **frame, **laser, **images("LiDARSegmentationLabelComponent", ints)
        },
        "lidar_pose": {**frame, **laser, **images("LiDARPoseComponent", floats, (1,))},
        "vehicle_pose": {**frame, "[VehiclePoseComponent].world_from_vehicle.transform": matrix},
        "lidar_calibration": {
            **segment,
            **laser,
            "[LiDARCalibrationComponent].extrinsic.transform": matrix,
            f"{inclination}.min": pa.float64(),
            f"{inclination}.max": pa.float64(),
            f"{inclination}.values": pa.list_(pa.float64()),
        },
        "camera_calibration": {
            **segment,
            **camera,
            **{
                f"{lens}.intrinsic.{name}": pa.float64()
                for name in "f_u f_v c_u c_v k1 k2 p1 p2 k3".split()
            },
            f"{lens}.extrinsic.transform": matrix,
            f"{lens}.width": pa.int32(),
            f"{lens}.height": pa.int32(),
            f"{lens}.rolling_shutter_direction": pa.int8(),
        },
        "camera_image": {
            **frame,
            **camera,
            "[CameraImageComponent].image": pa.binary(),
            "[CameraImageComponent].pose.transform": matrix,
            "[CameraImageComponent].pose_timestamp": pa.float64(),
        },
    }  # fmt: skip


def write_component(root, folder, rows, segment=SEGMENT, leave_out=()):
    """Write root/folder/<segment>.parquet; every row is a dict without the segment's name."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {name: kind for name, kind in types()[folder].items() if name not in leave_out}
    schema = pa.schema(list(kinds.items()))
    rows = [{"key.segment_context_name": segment, **row} for row in rows]
    path = root / folder / f"{segment}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: [row.get(name) for row in rows] for name in kinds}, schema=schema)
    parquet.write_table(table, path, row_group_size=2)
    return path


def range_image(component, number, values):
    """The two columns of an (H, W, C) image."""
    name = f"[{component}].range_image_return{number}"
    return {f"{name}.values": np.ravel(values).tolist(), f"{name}.shape": list(values.shape)}
