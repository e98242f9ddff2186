"""Only what pyproject.toml cannot say: the recipes live beside the package and travel inside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("src"), "hearmeglm.recipes"],
    package_dir={"": "src", "hearmeglm.recipes": "recipes"},
)
