"""The site that scripts/run and the site tests share: namespaces, real processes, real traffic."""

from .control import Control, ControlError
from .host import SiteError, wait_for
from .process import Process
from .site import Site

__all__ = ["Control", "ControlError", "Process", "Site", "SiteError", "wait_for"]
