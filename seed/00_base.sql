-- What the fleets of the other files hang on: team, owners, policy, issuer and ACME profile.
--
-- All of it is the load test's own, so that no scenario touches, counts or depends on a row that
-- somebody else made. A second run changes nothing.

INSERT INTO teams (id, name, description)
VALUES ('t-loadtest', 'loadtest', 'Owns every seeded certificate of the load tests')
ON CONFLICT (id) DO NOTHING;

-- 200 owners of at most 50 certificates: a bulk renewal by criteria looks at 50 certificates a
-- call, the oldest first, so only by owner can such calls reach all of them.
INSERT INTO owners (id, name, email, team_id)
SELECT
    'o-loadtest-' || to_char(n, 'FM000'),
    'loadtest-owner-' || to_char(n, 'FM000'),
    'owner-' || to_char(n, 'FM000') || '@loadtest.example.test',
    't-loadtest'
FROM generate_series(1, 200) AS n
ON CONFLICT (id) DO NOTHING;

INSERT INTO renewal_policies
    (id, name, renewal_window_days, auto_renew, max_retries, retry_interval_seconds)
VALUES ('rp-loadtest', 'loadtest', 30, true, 3, 60)
ON CONFLICT (id) DO NOTHING;

-- The one issuer, a local CA. ACME takes any issuer it finds, so a second one would make its
-- answers a matter of chance. Its source keeps it out of the encrypted configuration.
INSERT INTO issuers (id, name, type, config, enabled, source)
VALUES (
    'iss-local',
    'loadtest-local-ca',
    'GenericCA',
    '{"ca_common_name": "Load test CA", "validity_days": 90}',
    true,
    'env'
)
ON CONFLICT (id) DO NOTHING;

-- Trust mode: an order is ready at once, without a challenge to answer.
INSERT INTO certificate_profiles (id, name, description, acme_auth_mode, max_ttl_seconds)
VALUES (
    'prof-loadtest',
    'loadtest',
    'The profile that the ACME scenarios use',
    'trust_authenticated',
    7776000
)
ON CONFLICT (id) DO NOTHING;

-- expect: 1 = SELECT count(*) FROM teams WHERE id = 't-loadtest'
-- expect: 200 = SELECT count(*) FROM owners WHERE id LIKE 'o-loadtest-%' AND team_id = 't-loadtest'
-- expect: 1 = SELECT count(*) FROM renewal_policies WHERE id = 'rp-loadtest'
-- expect: 1 = SELECT count(*) FROM issuers WHERE id = 'iss-local' AND enabled
-- expect: 1 = SELECT count(*) FROM certificate_profiles WHERE id = 'prof-loadtest' AND acme_auth_mode = 'trust_authenticated'
