"""Names of components as KFP's compiler numbers them."""


def base_name(name: str, separator: str = "-") -> str:
    """`fine-tune-2-2` → `fine-tune`: without the numbers of a component that is there twice, in each pipeline."""
    # Not by a regular expression, which would search a long name from each of its numbers.
    parts = name[len(name.rstrip(f"0123456789{separator}")) :].split(separator)
    kept = len(name)
    for part in reversed(parts[1:]):
        if not part:
            break
        kept -= len(separator) + len(part)
    return name[:kept]
