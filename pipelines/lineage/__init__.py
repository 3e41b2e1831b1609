"""From a release back to the raw data: `walk.py` follows the digests, and verifies each link on the way.

release        its files have the sha256 of its marker, of SHA256SUMS, and of its version           release.py
provenance     names the artifacts it was made of, by the digest of their manifests                 release.py
journal        the record of the export task that published these very files; its seal holds        records.py
artifact       its manifest has that digest; every blob it names has its sha256                     artifacts.py
task           the record of the task that made it; its inputs are those that the manifest names    walk.py
dataset        every row has the sha256 of its image; all rows have the fingerprint                 artifacts.py
raw data       what data_prep was given, with that fingerprint
"""
