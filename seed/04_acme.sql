-- 100 certificates that ACME clients ask renewal-info about: cert-loadtest-acme-001 to -100.
--
-- Each has a version, as if it had been issued 30 days ago and held for 90. A serial number is
-- stored with 40 digits in hex, and looked for without its leading zeros: these have none. The
-- versions hold no chain: nothing reads it. Team and owner are their own: they are older than the
-- fleet, and a renewal by criteria would look at them first. A second run changes nothing.

INSERT INTO teams (id, name, description)
VALUES ('t-loadtest-acme', 'loadtest-acme', 'Owns the certificates that renewal-info is asked about')
ON CONFLICT (id) DO NOTHING;

INSERT INTO owners (id, name, email, team_id)
VALUES ('o-acme-loadtest', 'loadtest-acme', 'acme@loadtest.example.test', 't-loadtest-acme')
ON CONFLICT (id) DO NOTHING;

INSERT INTO managed_certificates (
    id, name, common_name, sans, environment,
    owner_id, team_id, issuer_id, renewal_policy_id, certificate_profile_id,
    status, expires_at, tags, source, created_at, updated_at
)
SELECT
    'cert-' || label,
    label || '.example.test',
    label || '.example.test',
    ARRAY[label || '.example.test'],
    'loadtest',
    'o-acme-loadtest',
    't-loadtest-acme',
    'iss-local',
    'rp-loadtest',
    'prof-loadtest',
    'Active',
    issued + interval '90 days',
    '{"source": "certload", "batch": "acme"}',
    'ACME',
    issued,
    issued
FROM generate_series(1, 100) AS n
CROSS JOIN LATERAL (
    SELECT
        'loadtest-acme-' || to_char(n, 'FM000') AS label,
        date_trunc('second', now()) - interval '30 days' + make_interval(secs => n) AS issued
) AS row
ON CONFLICT (id) DO NOTHING;

INSERT INTO certificate_versions (
    id, certificate_id, serial_number, not_before, not_after,
    fingerprint_sha256, pem_chain, csr_pem, key_algorithm, key_size, created_at
)
SELECT
    replace(id, 'cert-', 'version-'),
    id,
    '5' || right(serial, 39),
    created_at,
    expires_at,
    -- Unlike any that is real: no certificate stands behind it.
    'none of ' || id,
    '',
    '',
    'ECDSA',
    256,
    created_at
FROM managed_certificates
CROSS JOIN LATERAL (SELECT encode(sha256(id::bytea), 'hex') AS serial) AS row
WHERE id LIKE 'cert-loadtest-acme-%'
ON CONFLICT (id) DO NOTHING;

-- expect: 100 = SELECT count(*) FROM managed_certificates WHERE id LIKE 'cert-loadtest-acme-%' AND issuer_id = 'iss-local' AND owner_id = 'o-acme-loadtest'
-- expect: 100 = SELECT count(DISTINCT serial_number) FROM certificate_versions WHERE certificate_id LIKE 'cert-loadtest-acme-%' AND serial_number ~ '^5[0-9a-f]{39}$'
