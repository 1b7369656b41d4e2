-- The rows that every certctl database has: tenant, roles, what they may do, a policy.
-- Applied at every start; a row that is there stays as it is.

INSERT INTO tenants (id, name) VALUES ('t-default', 'default') ON CONFLICT (id) DO NOTHING;

INSERT INTO roles (id, tenant_id, name)
SELECT 'r-' || name, 't-default', name
FROM unnest(string_to_array('admin operator viewer agent mcp cli auditor', ' ')) AS name
ON CONFLICT (id) DO NOTHING;

INSERT INTO permissions (id, name, namespace)
SELECT 'p-' || translate(namespace || '.' || verb, '._', '--'), namespace || '.' || verb, namespace
FROM (VALUES
    ('agent', 'edit heartbeat read retire'),
    ('agent.job', 'complete poll report'),
    ('approval', 'approve read reject'),
    ('audit', 'export read'),
    ('auth.bootstrap', 'use'),
    ('auth.breakglass', 'admin login'),
    ('auth.key', 'create delete list rotate'),
    ('auth.oidc', 'create delete edit list'),
    ('auth.role', 'assign create delete edit list revoke'),
    ('auth.session', 'list list.all revoke'),
    ('auth.user', 'deactivate read'),
    ('ca.hierarchy', 'manage'),
    ('cert', 'bulk_revoke delete edit issue read revoke'),
    ('crl', 'admin'),
    ('digest', 'read send'),
    ('discovery', 'claim read run'),
    ('est', 'admin'),
    ('healthcheck', 'acknowledge delete edit read'),
    ('issuer', 'delete edit read'),
    ('job', 'cancel read'),
    ('metrics', 'read'),
    ('network_scan', 'edit read run'),
    ('notification', 'edit read'),
    ('owner', 'delete edit read'),
    ('policy', 'delete edit read'),
    ('profile', 'delete edit read'),
    ('scep', 'admin'),
    ('stats', 'read'),
    ('target', 'delete edit read'),
    ('team', 'delete edit read'),
    ('verification', 'read run')
) AS catalogue (namespace, verbs)
CROSS JOIN unnest(string_to_array(verbs, ' ')) AS verb
ON CONFLICT (id) DO NOTHING;

-- An administrator may do everything; the others what stands here, as namespace and verbs.
INSERT INTO role_permissions (role_id, permission_id)
SELECT 'r-admin', id FROM permissions
UNION ALL
SELECT role_id, permissions.id
FROM (VALUES
    ('r-operator', 'agent', 'edit read'),
    ('r-operator', 'approval', 'approve read reject'),
    ('r-operator', 'audit', 'read'),
    ('r-operator', 'auth.user', 'read'),
    ('r-operator', 'cert', 'delete edit issue read revoke'),
    ('r-operator', 'digest', 'read send'),
    ('r-operator', 'discovery', 'claim read run'),
    ('r-operator', 'healthcheck', 'acknowledge delete edit read'),
    ('r-operator', 'issuer', 'edit read'),
    ('r-operator', 'job', 'cancel read'),
    ('r-operator', 'metrics', 'read'),
    ('r-operator', 'network_scan', 'edit read run'),
    ('r-operator', 'notification', 'edit read'),
    ('r-operator', 'owner', 'delete edit read'),
    ('r-operator', 'policy', 'delete edit read'),
    ('r-operator', 'profile', 'edit read'),
    ('r-operator', 'stats', 'read'),
    ('r-operator', 'target', 'delete edit read'),
    ('r-operator', 'team', 'delete edit read'),
    ('r-operator', 'verification', 'read run'),
    ('r-cli', 'agent', 'edit read'),
    ('r-cli', 'approval', 'approve read reject'),
    ('r-cli', 'audit', 'read'),
    ('r-cli', 'auth.key', 'create list rotate'),
    ('r-cli', 'cert', 'delete edit issue read revoke'),
    ('r-cli', 'digest', 'read send'),
    ('r-cli', 'discovery', 'claim read run'),
    ('r-cli', 'healthcheck', 'acknowledge edit read'),
    ('r-cli', 'issuer', 'edit read'),
    ('r-cli', 'job', 'cancel read'),
    ('r-cli', 'metrics', 'read'),
    ('r-cli', 'network_scan', 'edit read run'),
    ('r-cli', 'notification', 'edit read'),
    ('r-cli', 'owner', 'edit read'),
    ('r-cli', 'policy', 'delete edit read'),
    ('r-cli', 'profile', 'edit read'),
    ('r-cli', 'stats', 'read'),
    ('r-cli', 'target', 'delete edit read'),
    ('r-cli', 'team', 'edit read'),
    ('r-cli', 'verification', 'read run'),
    ('r-mcp', 'agent', 'read'),
    ('r-mcp', 'approval', 'approve read reject'),
    ('r-mcp', 'audit', 'read'),
    ('r-mcp', 'cert', 'edit issue read revoke'),
    ('r-mcp', 'digest', 'read'),
    ('r-mcp', 'discovery', 'claim read'),
    ('r-mcp', 'healthcheck', 'acknowledge read'),
    ('r-mcp', 'issuer', 'edit read'),
    ('r-mcp', 'job', 'cancel read'),
    ('r-mcp', 'metrics', 'read'),
    ('r-mcp', 'network_scan', 'read run'),
    ('r-mcp', 'notification', 'edit read'),
    ('r-mcp', 'owner', 'read'),
    ('r-mcp', 'policy', 'read'),
    ('r-mcp', 'profile', 'edit read'),
    ('r-mcp', 'stats', 'read'),
    ('r-mcp', 'target', 'edit read'),
    ('r-mcp', 'team', 'read'),
    ('r-mcp', 'verification', 'read run'),
    ('r-agent', 'agent', 'heartbeat'),
    ('r-agent', 'agent.job', 'complete poll report'),
    ('r-agent', 'cert', 'read'),
    ('r-agent', 'discovery', 'run'),
    ('r-auditor', 'audit', 'export read'),
    ('r-auditor', 'auth.user', 'read')
) AS granted (role_id, area, verbs)
CROSS JOIN unnest(string_to_array(verbs, ' ')) AS verb
JOIN permissions ON permissions.name = area || '.' || verb
UNION ALL
SELECT 'r-viewer', permissions.id
FROM unnest(string_to_array(
    'agent approval audit cert digest discovery healthcheck issuer job metrics network_scan '
    'notification owner policy profile stats target team verification',
    ' '
)) AS area
JOIN permissions ON permissions.name = area || '.read'
ON CONFLICT ON CONSTRAINT role_permissions_unique DO NOTHING;

-- Whom requests are ascribed to when authentication is off.
INSERT INTO actor_roles (id, actor_id, actor_type, role_id, tenant_id)
VALUES ('ar-demo-anon-admin', 'actor-demo-anon', 'Anonymous', 'r-admin', 't-default')
ON CONFLICT (id) DO NOTHING;

INSERT INTO renewal_policies (id, name, renewal_window_days) VALUES ('rp-default', 'default', 30)
ON CONFLICT (id) DO NOTHING;

INSERT INTO policy_rules (id, name, type, config, severity)
VALUES
    ('pr-require-owner', 'require-owner', 'RequiredMetadata',
        '{"required_keys": ["owner"]}', 'Warning'),
    ('pr-allowed-environments', 'allowed-environments', 'AllowedEnvironments',
        '{"allowed": ["production", "staging", "development"]}', 'Error'),
    ('pr-max-certificate-lifetime', 'max-certificate-lifetime', 'CertificateLifetime',
        '{"max_days": 90}', 'Critical'),
    ('pr-min-renewal-window', 'min-renewal-window', 'RenewalLeadTime',
        '{"lead_time_days": 14}', 'Warning')
ON CONFLICT (id) DO NOTHING;
