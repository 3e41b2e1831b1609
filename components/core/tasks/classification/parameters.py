"""The parameters of image classification. The groups' defaults fit the embedded demo."""

from components.core.parameters import COMMON, IMAGES

PARAMETERS = (*COMMON, *IMAGES)
