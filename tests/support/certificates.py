"""A certificate as a look at some hundred blind judgements gives it."""

from preference.report_card.certificate import Certificate, CertifiedPoint

CERTIFICATE = Certificate(
    version="v3-20260920-120000", look=1, made_at="2026-09-20T13:00:00+00:00", target=0.8, confidence=0.9, error=0.05, num_votes=120,
    newest_annotation=400, last_vote_at="2026-09-20T12:59:00Z", certified_from=0.74, num_open=1300, num_covered=598,
    curve=tuple(
        CertifiedPoint(threshold, coverage, agreement, lower, count)
        for threshold, coverage, agreement, lower, count in (
            (0.5, 1.0, 0.72, 0.65, 120), (0.6, 0.81, 0.77, 0.69, 100), (0.68, 0.63, 0.82, 0.745, 92), (0.74, 0.46, 0.889, 0.817, 81),
            (0.82, 0.3, 0.9, 0.79, 50), (0.9, 0.1, 0.95, 0.78, 20), (0.97, 0.02, 1.0, 0.47, 4),
        )
    ),
    num_more=300, coverage_then=0.63,
)  # fmt: skip
