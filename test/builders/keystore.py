"""A keystore of SROS 2 from our policy file, by the openssl command: what `ros2 security` makes
where it is installed, for tests on machines that have only the pip wheels of ROS 2.
"""

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

GOVERNANCE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xsi:noNamespaceSchemaLocation="\
http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_governance.xsd">
  <domain_access_rules><domain_rule>
    <domains><id_range><min>0</min><max>230</max></id_range></domains>
    <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
    <enable_join_access_control>true</enable_join_access_control>
    <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
    <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
    <rtps_protection_kind>SIGN</rtps_protection_kind>
    <topic_access_rules><topic_rule>
      <topic_expression>*</topic_expression>
      <enable_discovery_protection>true</enable_discovery_protection>
      <enable_liveliness_protection>true</enable_liveliness_protection>
      <enable_read_access_control>true</enable_read_access_control>
      <enable_write_access_control>true</enable_write_access_control>
      <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
      <data_protection_kind>ENCRYPT</data_protection_kind>
    </topic_rule></topic_access_rules>
  </domain_rule></domain_access_rules>
</dds>
"""
PERMISSIONS = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xsi:noNamespaceSchemaLocation="\
http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_permissions.xsd">
  <permissions><grant name="{enclave}">
    <subject_name>CN={enclave}</subject_name>
    <validity><not_before>2020-01-01T00:00:00</not_before>
      <not_after>2099-01-01T00:00:00</not_after></validity>
    <allow_rule>
      <domains><id_range><min>0</min><max>230</max></id_range></domains>
      <publish><topics>{publish}</topics></publish>
      <subscribe><topics>{subscribe}</topics></subscribe>
    </allow_rule>
    <default>DENY</default>
  </grant></permissions>
</dds>
"""


def have_openssl():
    """Whether a keystore can be made here."""
    return shutil.which("openssl") is not None


def make_keystore(folder, policy):
    """The keystore `folder` with every enclave of the file `policy`."""
    enclaves = folder / "enclaves"
    enclaves.mkdir(parents=True)
    _openssl(folder, "ecparam -name prime256v1 -genkey -noout -out ca.key.pem")
    _openssl(folder, "req -x509 -new -key ca.key.pem -days 3650 -out ca.cert.pem -subj /CN=tests")
    _sign(folder, "governance", GOVERNANCE)
    for enclave in ElementTree.parse(policy).getroot().findall("./enclaves/enclave"):
        _make_enclave(folder, enclave)
    return folder


def _make_enclave(folder, enclave):
    name = enclave.get("path")
    place = folder / "enclaves" / name.strip("/")
    place.mkdir(parents=True)
    _openssl(folder, f"ecparam -name prime256v1 -genkey -noout -out {place}/key.pem")
    (folder / "subject.cnf").write_text(
        f"[req]\ndistinguished_name = who\nprompt = no\n[who]\nCN = {name}\n"
    )
    _openssl(folder, f"req -new -key {place}/key.pem -config subject.cnf -out request.pem")
    _openssl(
        folder,
        "x509 -req -in request.pem -CA ca.cert.pem -CAkey ca.key.pem -CAcreateserial -days 3650 "
        f"-out {place}/cert.pem",
    )
    for kind in ("identity", "permissions"):
        shutil.copy(folder / "ca.cert.pem", place / f"{kind}_ca.cert.pem")
    publish, subscribe = dds_names(enclave)
    text = PERMISSIONS.format(
        enclave=name,
        publish="".join(f"<topic>{topic}</topic>" for topic in sorted(publish)),
        subscribe="".join(f"<topic>{topic}</topic>" for topic in sorted(subscribe)),
    )
    _sign(folder, "permissions", text)
    shutil.copy(folder / "permissions.p7s", place)
    shutil.copy(folder / "governance.p7s", place)


def dds_names(enclave):
    """({published}, {subscribed}) topics of DDS of an enclave's element: names of ROS get the
    prefixes rt (topics), rq and rr (requests and replies of services).
    """
    publish, subscribe = {"ros_discovery_info"}, {"ros_discovery_info"}
    for profile in enclave.findall("./profiles/profile"):

        def full(item, profile=profile):
            base = profile.get("ns").rstrip("/")
            name = item.text.replace("~", f"{base}/{profile.get('node')}")
            return name if name.startswith("/") else f"{base}/{name}"

        for topics in profile.findall("topics"):
            names = {f"rt{full(item)}" for item in topics}
            (publish if topics.get("publish") == "ALLOW" else subscribe).update(names)
        for services in profile.findall("services"):
            asks = services.get("request") == "ALLOW"
            requests = {f"rq{full(item)}Request" for item in services}
            replies = {f"rr{full(item)}Reply" for item in services}
            (publish if asks else subscribe).update(requests)
            (subscribe if asks else publish).update(replies)
    return publish, subscribe


def _sign(folder, name, text):
    (folder / f"{name}.xml").write_text(text)
    _openssl(
        folder,
        f"smime -sign -in {name}.xml -text -out {name}.p7s -signer ca.cert.pem -inkey ca.key.pem",
    )


def _openssl(folder, words):
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
