-- Where the fleet's certificates go: one target for each agent, two certificates on each.
--
-- tg-loadtest-00001 to -05000, each of the agent with its number. Certificate n goes to target
-- n, and from 5,001 on to n - 5,000: so as many certificates in a row as there are agents are of
-- different agents. The source keeps them out of the encrypted configuration. A second run
-- changes nothing.

INSERT INTO deployment_targets (id, name, type, agent_id, config, enabled, source)
SELECT
    'tg-loadtest-' || to_char(n, 'FM00000'),
    'loadtest-target-' || to_char(n, 'FM00000'),
    'NGINX',
    'ag-loadtest-' || to_char(n, 'FM00000'),
    jsonb_build_object(
        'cert_path', '/etc/nginx/certs/' || to_char(n, 'FM00000') || '.pem',
        'key_path', '/etc/nginx/certs/' || to_char(n, 'FM00000') || '.key'
    ),
    true,
    'env'
FROM generate_series(1, 5000) AS n
ON CONFLICT (id) DO NOTHING;

INSERT INTO certificate_target_mappings (certificate_id, target_id)
SELECT
    'cert-loadtest-bulk-' || to_char(n, 'FM00000'),
    'tg-loadtest-' || to_char((n - 1) % 5000 + 1, 'FM00000')
FROM generate_series(1, 10000) AS n
ON CONFLICT (certificate_id, target_id) DO NOTHING;

-- expect: 5000 = SELECT count(DISTINCT agent_id) FROM deployment_targets WHERE id LIKE 'tg-loadtest-%' AND agent_id LIKE 'ag-loadtest-%'
-- expect: 10000 = SELECT count(*) FROM certificate_target_mappings WHERE certificate_id LIKE 'cert-loadtest-bulk-%' AND target_id LIKE 'tg-loadtest-%'
-- expect: 0 = SELECT count(*) FROM deployment_targets WHERE id LIKE 'tg-loadtest-%' AND id NOT IN (SELECT target_id FROM certificate_target_mappings)
