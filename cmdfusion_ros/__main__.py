"""`python -m cmdfusion_ros` is the command `cmdfusion`."""

from cmdfusion_ros.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
