"""audit.py PIP_AUDIT FOLDER: known vulnerabilities of the packages in a folder, and how many
packages the database knew. Ends with 1 where one is vulnerable, 2 where nothing was audited.
"""

import json
import subprocess
import sys


def main(pip_audit: str, folder: str) -> int:
    command = [pip_audit, "--progress-spinner", "off", "--format", "json", "--path", folder]
    said = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(said.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        print(said.stdout, said.stderr, sep="\n", file=sys.stderr)
        print(
            f"nothing was audited: expected JSON of {pip_audit}, which ended with "
            f"{said.returncode}; is the network there?",
            file=sys.stderr,
        )
        return 2
    # one that it could not look up has a reason in place of its vulnerabilities
    skipped = [package for package in packages if "skip_reason" in package]
    found = [(package, each) for package in packages for each in package.get("vulns", ())]
    audited = len(packages) - len(skipped)
    for package, each in found:
        mended = ", ".join(each.get("fix_versions", ())) or "no version yet"
        print(f"{package['name']} {package.get('version', '')}: {each['id']}, mended in {mended}")
    if skipped:
        print("not audited: " + ", ".join(package["name"] for package in skipped))
    print(f"{audited} of {len(packages)} packages were audited, {len(found)} vulnerabilities known")
    if not audited:
        print(
            "nothing was audited: the index that pip uses knows no advisories of any package here; "
            "ask where https://pypi.org can be reached",
            file=sys.stderr,
        )
        return 2
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
