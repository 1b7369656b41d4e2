-- 10,000 certificates for the bulk renewal: cert-loadtest-bulk-00001 to -10000.
--
-- Status Active, in the server's own spelling (it compares exactly). They expire in 60 to 149
-- days, far beyond the 31 days in which the server's own renewal sweep would take them. Each has
-- a created_at of its own, because that is the order in which a renewal by criteria sees them:
-- with one shared value the order would be chance. A second run changes nothing.

INSERT INTO managed_certificates (
    id, name, common_name, sans, environment,
    owner_id, team_id, issuer_id, renewal_policy_id,
    status, expires_at, tags, created_at, updated_at
)
SELECT
    'cert-' || label,
    label || '.example.test',
    label || '.example.test',
    ARRAY[label || '.example.test'],
    'loadtest',
    'o-loadtest-' || to_char((n - 1) % 200 + 1, 'FM000'),
    't-loadtest',
    'iss-local',
    'rp-loadtest',
    'Active',
    now() + make_interval(days => 60 + n % 90),
    '{"source": "certload", "batch": "bulk-renewal"}',
    created,
    created
FROM generate_series(1, 10000) AS n
CROSS JOIN LATERAL (
    SELECT
        'loadtest-bulk-' || to_char(n, 'FM00000') AS label,
        now() - interval '7 days' + make_interval(secs => n) AS created
) AS row
ON CONFLICT (id) DO NOTHING;

-- expect: 10000 = SELECT count(*) FROM managed_certificates WHERE id LIKE 'cert-loadtest-bulk-%' AND name LIKE 'loadtest-bulk-%'
-- expect: 10000 = SELECT count(DISTINCT created_at) FROM managed_certificates WHERE id LIKE 'cert-loadtest-bulk-%'
-- expect: 0 = SELECT count(*) FROM (SELECT 1 FROM managed_certificates WHERE id LIKE 'cert-loadtest-bulk-%' GROUP BY owner_id HAVING count(*) > 50) AS crowded
