-- 5,000 agents for the heartbeats: ag-loadtest-00001 to -05000.
--
-- Online, with a heartbeat 0 to 59 seconds old, as in a fleet that sends one a minute, so that
-- the server's health sweep does not turn half of them Offline before the load begins.
-- Operating system 80 % linux, 10 % windows, 10 % darwin; architecture 80 % amd64, 20 % arm64,
-- each system in that proportion. A second run changes nothing.

INSERT INTO agents (
    id, name, hostname, status, last_heartbeat_at, registered_at, api_key_hash,
    os, architecture, ip_address, version
)
SELECT
    'ag-loadtest-' || to_char(n, 'FM00000'),
    'loadtest-agent-' || to_char(n, 'FM00000'),
    'loadtest-agent-' || to_char(n, 'FM00000') || '.example.test',
    'Online',
    now() - make_interval(secs => n % 60),
    now() - make_interval(days => 1 + n % 90),
    -- Not the hash of any key: the load comes with an API key of the server.
    'none',
    CASE n % 10 WHEN 0 THEN 'windows' WHEN 5 THEN 'darwin' ELSE 'linux' END,
    CASE n / 10 % 5 WHEN 0 THEN 'arm64' ELSE 'amd64' END,
    '10.42.' || n / 256 || '.' || n % 256,
    '2.1.0'
FROM generate_series(1, 5000) AS n
ON CONFLICT (id) DO NOTHING;

-- A clone of this database is used later than it was seeded: the heartbeats are as old there.
-- refresh: UPDATE agents SET last_heartbeat_at = now() - make_interval(secs => right(id, 5)::int % 60) WHERE id LIKE 'ag-loadtest-%'

-- expect: 5000 = SELECT count(*) FROM agents WHERE id LIKE 'ag-loadtest-%' AND name LIKE 'loadtest-agent-%'
-- expect: 0 = SELECT count(*) FROM agents WHERE id LIKE 'ag-loadtest-%' AND (last_heartbeat_at IS NULL OR retired_at IS NOT NULL)
