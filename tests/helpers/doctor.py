"""Reports of the doctor on a dataset."""

from segvit.dataset_tools.doctor import check_dataset, open_dataset


def diagnose(target, **options):
    """The doctor's report on a folder or a registered dataset."""
    return check_dataset(open_dataset(str(target), **options), workers=2, progress=False)


def kinds(report):
    """(kind, severity) of each finding."""
    return [(finding.kind, finding.severity) for finding in report.findings]
