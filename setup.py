"""pip install: the library, the command line and, where ROS 2 is present, the node.

`colcon build` does not read this file: it goes by package.xml and CMakeLists.txt. The extras are
the one list of what make demo and make test install.
"""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "cmdfusion_ros" / "__init__.py").read_text(), re.MULTILINE
).group(1)

# The unofficial ROS 2 wheels of PyPI exist for these machines only. Pinned through the distro's
# name: ros-rclpy itself holds two distros.
ON_WHEELS = (
    '; sys_platform == "linux" and platform_machine == "x86_64" and python_version >= "3.10" and '
    'python_version < "3.14"'
)
ROS = [
    "ros-kilted-rclpy==9.1.2",
    "ros-kilted-rmw-fastrtps-cpp==9.3.3",
    "ros-kilted-common-interfaces==5.5.1",
    "ros-kilted-lifecycle-msgs==2.3.0",
]
# what colcon build of msg/ and srv/ needs besides; the wheels do not depend on each other as they
# should
ROS_BUILD = [
    "ros-kilted-ament-cmake==2.7.3",
    "ros-kilted-ament-package==0.17.2",
    "ros-kilted-ament-cmake-include-directories==2.7.3",
    "ros-kilted-ament-cmake-ros-core==0.14.5",
    "ros-kilted-rosidl-core-generators==0.3.1",
    "ros-kilted-rosidl-default-generators==1.7.1",
    "empy==3.3.4",  # the generators cannot use empy 4
    "catkin_pkg==1.1.1",
    "colcon-core==0.21.3",
    "colcon-cmake==0.2.30",
    "colcon-ros==0.5.0",
    "colcon-bash==0.5.0",
]

# colcon installs them to the same place
CONFIG = Path("config")
SHARED = [CONFIG, *sorted(path for path in CONFIG.rglob("*") if path.is_dir()), Path("launch")]

# The compiled kernels of sparse convolution, which sparse/native.py loads by itself. Without a
# compiler for them the package installs all the same.
NATIVE = Extension(
    "cmdfusion_ros.sparse._native",
    [f"cmdfusion_ros/sparse/native{part}.cpp" for part in ("", "_half", "_images", "_training")],
    depends=["cmdfusion_ros/sparse/native.h", "cmdfusion_ros/sparse/native_convolve.h"],
    language="c++",
    extra_compile_args=["-std=c++14", "-O3", "-ffp-contract=fast"],
    optional=True,
)

# The check of JPEG files, which messages/jpeg_check.py loads by itself. Likewise.
JPEG_CHECK = Extension(
    "cmdfusion_ros.messages._jpeg",
    ["cmdfusion_ros/messages/jpeg_check.cpp"],
    language="c++",
    extra_compile_args=["-std=c++14", "-O2"],
    optional=True,
)

setup(
    name="cmdfusion_ros",
    version=VERSION,
    description=(
        "LiDAR and camera semantic segmentation for ROS 2: labels every point, with up to 32 "
        "cameras, none included"
    ),
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["cmdfusion_ros", "cmdfusion_ros.*"]),
    ext_modules=[NATIVE, JPEG_CHECK],
    # makes an editable install a plain path entry, which pkgutil.extend_path in __init__.py can see
    package_dir={"": "."},
    package_data={
        "cmdfusion_ros": [
            "py.typed",
            "class_maps/*.yaml",
            "evaluation/viewer/*.js",
            "evaluation/viewer/vendor/*",
            "image_teachers/class_lists/*.yaml",
            "weights/*.safetensors",
        ]
    },
    data_files=[
        (f"share/cmdfusion_ros/{folder}", sorted(str(file) for file in folder.glob("*.*")))
        for folder in SHARED
    ],
    install_requires=[
        "torch>=2.1",
        "numpy>=1.26",
        "safetensors>=0.4",
        "PyYAML>=6",
        "opencv-python-headless>=4.8,<5",  # a cv_bridge built on OpenCV 4 breaks beside OpenCV 5
        "matplotlib>=3.7",
        "rosbags>=0.11.7,<0.12",  # data/bags/unpacking.py reaches into its tables
        "lz4>=3",  # rosbags unpacks with it; we bound what it unpacks
        "tqdm>=4.60",
    ],
    extras_require={
        "pandaset": ["pandas>=2"],  # PandaSet as distributed is tables of pandas
        "onnx": ["onnxruntime>=1.17"],  # 2D teachers in .onnx files
        "tflite": ["ai-edge-litert>=1.2"],  # 2D teachers in .tflite files
        "odometry": ["kiss-icp>=1.2"],  # poses from the clouds, where a drive has none
        "ray": ["ray>=2.10"],  # many bags over a cluster
        "rerun": ["rerun-sdk>=0.41"],  # labels as recordings for its viewer
        "waymo": ["pyarrow>=14"],  # the Waymo Open Dataset, version 2, is Parquet files
        "completion": ["shtab>=1.13"],  # cmdfusion completion
        "docs": ["sphinx>=7", "myst-parser>=3", "furo>=2024.1.29"],  # what rosdoc2 builds with
        "test": [
            "pandas>=2",
            "pyarrow>=14",
            "pytest>=8",
            "pytest-timeout>=2.2",
            "hypothesis>=6.90",
            "torchmetrics>=1.4",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "onnx>=1.15",
            "onnxruntime>=1.17",
            "shtab>=1.13",
        ],
        "fuzz": ["atheris>=3; python_version < '3.14'"],  # make fuzz
        "ros": [requirement + ON_WHEELS for requirement in ROS],
        "ros-build": [requirement + ON_WHEELS for requirement in ROS_BUILD],
    },
    entry_points={
        "console_scripts": [
            "cmdfusion = cmdfusion_ros.cli.main:main",
            "cmdfusion_node = cmdfusion_ros.cli.node:main",
        ]
    },
)
