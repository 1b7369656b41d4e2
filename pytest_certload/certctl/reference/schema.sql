-- The tables that the load scenarios touch, as a certctl database has them when all its
-- migrations are applied: same columns, defaults, constraints, indexes and triggers, because
-- they decide what a request costs. Indexes that no query uses are kept for that reason too.

-- Who owns certificates, and by which rules.

CREATE TABLE teams (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_teams_name ON teams (name);

CREATE TABLE owners (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL,
    email varchar(255) NOT NULL,
    team_id text NOT NULL REFERENCES teams ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_owners_email ON owners (email);
CREATE INDEX idx_owners_team_id ON owners (team_id);

CREATE TABLE agent_groups (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    description text DEFAULT '',
    match_os varchar(100) DEFAULT '',
    match_architecture varchar(100) DEFAULT '',
    match_ip_cidr varchar(45) DEFAULT '',
    match_version varchar(50) DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_agent_groups_enabled ON agent_groups (enabled);
CREATE INDEX idx_agent_groups_name ON agent_groups (name);

CREATE TABLE certificate_profiles (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    description text DEFAULT '',
    allowed_key_algorithms jsonb NOT NULL
        DEFAULT '[{"algorithm": "ECDSA", "min_size": 256}, {"algorithm": "RSA", "min_size": 2048}]',
    max_ttl_seconds integer NOT NULL DEFAULT 0,
    allowed_ekus jsonb NOT NULL DEFAULT '["serverAuth"]',
    required_san_patterns jsonb NOT NULL DEFAULT '[]',
    spiffe_uri_pattern varchar(512) DEFAULT '',
    allow_short_lived boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    required_csr_attributes jsonb NOT NULL DEFAULT '[]',
    must_staple boolean NOT NULL DEFAULT false,
    acme_auth_mode text NOT NULL DEFAULT 'trust_authenticated'
        CONSTRAINT certificate_profiles_acme_auth_mode_chk
        CHECK (acme_auth_mode IN ('trust_authenticated', 'challenge')),
    requires_approval boolean NOT NULL DEFAULT false
);
CREATE INDEX idx_certificate_profiles_enabled ON certificate_profiles (enabled);
CREATE INDEX idx_certificate_profiles_name ON certificate_profiles (name);

CREATE TABLE renewal_policies (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    renewal_window_days integer NOT NULL,
    auto_renew boolean NOT NULL DEFAULT true,
    max_retries integer NOT NULL DEFAULT 3,
    retry_interval_seconds integer NOT NULL DEFAULT 60,
    alert_thresholds_days jsonb NOT NULL DEFAULT '[30, 14, 7, 0]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    certificate_profile_id text REFERENCES certificate_profiles ON DELETE SET NULL,
    agent_group_id text REFERENCES agent_groups ON DELETE SET NULL,
    alert_channels jsonb NOT NULL DEFAULT '{}',
    alert_severity_map jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_renewal_policies_name ON renewal_policies (name);

CREATE TABLE policy_rules (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    type varchar(255) NOT NULL,
    config jsonb NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    severity varchar(50) NOT NULL DEFAULT 'Warning'
        CHECK (severity IN ('Warning', 'Error', 'Critical'))
);
CREATE INDEX idx_policy_rules_enabled ON policy_rules (enabled);
CREATE INDEX idx_policy_rules_name ON policy_rules (name);

CREATE TABLE issuers (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    type varchar(255) NOT NULL,
    config jsonb,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    encrypted_config bytea,
    last_tested_at timestamptz,
    test_status text NOT NULL DEFAULT 'untested',
    source text NOT NULL DEFAULT 'database',
    hierarchy_mode varchar(20) NOT NULL DEFAULT 'single'
);
CREATE INDEX idx_issuers_enabled ON issuers (enabled);
CREATE INDEX idx_issuers_name ON issuers (name);

-- The fleet.

CREATE TABLE agents (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    hostname varchar(255) NOT NULL,
    status varchar(50) NOT NULL DEFAULT 'offline',
    last_heartbeat_at timestamptz,
    registered_at timestamptz NOT NULL DEFAULT now(),
    api_key_hash varchar(255) NOT NULL,
    os varchar(100) DEFAULT '',
    architecture varchar(100) DEFAULT '',
    ip_address varchar(45) DEFAULT '',
    version varchar(50) DEFAULT '',
    retired_at timestamptz,
    retired_reason text
);
CREATE INDEX idx_agents_architecture ON agents (architecture);
CREATE INDEX idx_agents_hostname ON agents (hostname);
CREATE INDEX idx_agents_last_heartbeat_at ON agents (last_heartbeat_at);
CREATE INDEX idx_agents_online_heartbeat ON agents (status, last_heartbeat_at)
    WHERE status = 'online';
CREATE INDEX idx_agents_os ON agents (os);
CREATE INDEX idx_agents_retired_at ON agents (retired_at) WHERE retired_at IS NOT NULL;
CREATE INDEX idx_agents_status ON agents (status);

CREATE TABLE deployment_targets (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL,
    type varchar(255) NOT NULL,
    agent_id text NOT NULL REFERENCES agents ON DELETE RESTRICT,
    config jsonb,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    encrypted_config bytea,
    last_tested_at timestamptz,
    test_status text NOT NULL DEFAULT 'untested',
    source text NOT NULL DEFAULT 'database',
    retired_at timestamptz,
    retired_reason text
);
CREATE INDEX idx_deployment_targets_agent_id ON deployment_targets (agent_id);
CREATE UNIQUE INDEX idx_deployment_targets_agent_name ON deployment_targets (agent_id, name);
CREATE INDEX idx_deployment_targets_enabled ON deployment_targets (enabled);
CREATE INDEX idx_deployment_targets_name ON deployment_targets (name);
CREATE INDEX idx_deployment_targets_retired_at ON deployment_targets (retired_at)
    WHERE retired_at IS NOT NULL;

-- Certificates and the work on them.

CREATE TABLE managed_certificates (
    id text PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    common_name varchar(255) NOT NULL,
    sans text[] DEFAULT '{}',
    environment varchar(50),
    owner_id text NOT NULL REFERENCES owners ON DELETE RESTRICT,
    team_id text NOT NULL REFERENCES teams ON DELETE CASCADE,
    issuer_id text NOT NULL REFERENCES issuers ON DELETE RESTRICT,
    renewal_policy_id text NOT NULL REFERENCES renewal_policies ON DELETE RESTRICT,
    status varchar(50) NOT NULL DEFAULT 'pending',
    expires_at timestamptz,
    tags jsonb NOT NULL DEFAULT '{}',
    last_renewal_at timestamptz,
    last_deployment_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    certificate_profile_id text REFERENCES certificate_profiles ON DELETE SET NULL,
    revoked_at timestamptz,
    revocation_reason varchar(50),
    source text NOT NULL DEFAULT ''
);
CREATE INDEX idx_managed_certificates_expires_at ON managed_certificates (expires_at);
CREATE INDEX idx_managed_certificates_issuer_id ON managed_certificates (issuer_id);
CREATE INDEX idx_managed_certificates_name ON managed_certificates (name);
CREATE INDEX idx_managed_certificates_owner_id ON managed_certificates (owner_id);
CREATE INDEX idx_managed_certificates_profile_id ON managed_certificates (certificate_profile_id);
CREATE INDEX idx_managed_certificates_status ON managed_certificates (status);
CREATE INDEX idx_managed_certificates_team_id ON managed_certificates (team_id);

CREATE TABLE certificate_versions (
    id text PRIMARY KEY,
    certificate_id text NOT NULL REFERENCES managed_certificates ON DELETE CASCADE,
    serial_number varchar(255) NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    fingerprint_sha256 varchar(255) NOT NULL UNIQUE,
    pem_chain text NOT NULL,
    csr_pem text,
    created_at timestamptz NOT NULL DEFAULT now(),
    key_algorithm varchar(50) DEFAULT '',
    key_size integer DEFAULT 0
);
CREATE INDEX idx_certificate_versions_cert_created
    ON certificate_versions (certificate_id, created_at DESC);
CREATE INDEX idx_certificate_versions_certificate_id ON certificate_versions (certificate_id);
CREATE INDEX idx_certificate_versions_fingerprint ON certificate_versions (fingerprint_sha256);

CREATE TABLE certificate_target_mappings (
    certificate_id text REFERENCES managed_certificates ON DELETE CASCADE,
    target_id text REFERENCES deployment_targets ON DELETE CASCADE,
    PRIMARY KEY (certificate_id, target_id)
);
CREATE INDEX idx_certificate_target_mappings_target_id ON certificate_target_mappings (target_id);

CREATE TABLE jobs (
    id text PRIMARY KEY,
    type varchar(255) NOT NULL,
    certificate_id text REFERENCES managed_certificates ON DELETE CASCADE,
    target_id text REFERENCES deployment_targets ON DELETE SET NULL,
    agent_id text REFERENCES agents ON DELETE SET NULL,
    status varchar(50) NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 3,
    last_error text,
    deployment_result jsonb,
    scheduled_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    verification_status text DEFAULT 'pending',
    verified_at timestamptz,
    verification_fingerprint text,
    verification_error text
);
CREATE INDEX idx_jobs_agent_id ON jobs (agent_id);
CREATE INDEX idx_jobs_certificate_id ON jobs (certificate_id);
CREATE INDEX idx_jobs_scheduled_at ON jobs (scheduled_at);
CREATE INDEX idx_jobs_status ON jobs (status);
CREATE INDEX idx_jobs_status_scheduled_at ON jobs (status, scheduled_at);
CREATE INDEX idx_jobs_verification_status ON jobs (verification_status);
CREATE INDEX idx_jobs_verified_at ON jobs (verified_at);

CREATE TABLE notification_events (
    id text PRIMARY KEY,
    type varchar(255) NOT NULL,
    certificate_id text REFERENCES managed_certificates ON DELETE CASCADE,
    channel varchar(255) NOT NULL,
    recipient varchar(255) NOT NULL,
    message text NOT NULL,
    sent_at timestamptz,
    status varchar(50) NOT NULL DEFAULT 'pending',
    error text,
    retry_count integer NOT NULL DEFAULT 0,
    next_retry_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_notification_events_certificate_id ON notification_events (certificate_id);
CREATE INDEX idx_notification_events_retry_sweep ON notification_events (next_retry_at)
    WHERE status = 'failed' AND next_retry_at IS NOT NULL;
CREATE INDEX idx_notification_events_status ON notification_events (status);
CREATE INDEX idx_notification_events_type ON notification_events (type);

-- ACME.

CREATE TABLE acme_nonces (
    nonce text PRIMARY KEY,
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used boolean NOT NULL DEFAULT false
);
CREATE INDEX idx_acme_nonces_expires ON acme_nonces (expires_at) WHERE used = false;

CREATE TABLE acme_accounts (
    account_id text PRIMARY KEY,
    jwk_thumbprint text NOT NULL,
    jwk_pem text NOT NULL,
    contact text[],
    status text NOT NULL,
    profile_id text NOT NULL REFERENCES certificate_profiles,
    owner_id text REFERENCES owners,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (profile_id, jwk_thumbprint)
);
CREATE INDEX idx_acme_accounts_jwk_thumb ON acme_accounts (profile_id, jwk_thumbprint);
CREATE INDEX idx_acme_accounts_status ON acme_accounts (status) WHERE status = 'valid';

CREATE TABLE acme_orders (
    order_id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES acme_accounts,
    identifiers jsonb NOT NULL,
    status text NOT NULL,
    expires_at timestamptz NOT NULL,
    not_before timestamptz,
    not_after timestamptz,
    error jsonb,
    csr_pem text,
    certificate_id text REFERENCES managed_certificates,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_acme_orders_account ON acme_orders (account_id);
CREATE INDEX idx_acme_orders_expires ON acme_orders (expires_at);
CREATE INDEX idx_acme_orders_status ON acme_orders (status)
    WHERE status IN ('pending', 'ready', 'processing');

CREATE TABLE acme_authorizations (
    authz_id text PRIMARY KEY,
    order_id text NOT NULL REFERENCES acme_orders,
    identifier jsonb NOT NULL,
    status text NOT NULL,
    expires_at timestamptz NOT NULL,
    wildcard boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_acme_authz_order ON acme_authorizations (order_id);
CREATE INDEX idx_acme_authz_status ON acme_authorizations (status)
    WHERE status IN ('pending', 'processing');

CREATE TABLE acme_challenges (
    challenge_id text PRIMARY KEY,
    authz_id text NOT NULL REFERENCES acme_authorizations,
    type text NOT NULL,
    status text NOT NULL,
    token text NOT NULL,
    validated_at timestamptz,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_acme_challenges_authz ON acme_challenges (authz_id);

CREATE TABLE rate_limit_buckets (
    bucket_key text PRIMARY KEY,
    timestamps timestamptz[] NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rate_limit_buckets_updated_at_idx ON rate_limit_buckets (updated_at);

-- Roles. The join over these tables is made for every request.

CREATE TABLE tenants (
    id text PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE roles (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

CREATE TABLE permissions (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    namespace text NOT NULL
);

CREATE TABLE role_permissions (
    id bigserial PRIMARY KEY,
    role_id text NOT NULL REFERENCES roles ON DELETE CASCADE,
    permission_id text NOT NULL REFERENCES permissions ON DELETE RESTRICT,
    scope_type text NOT NULL DEFAULT 'global',
    scope_id text,
    CONSTRAINT role_permissions_unique
        UNIQUE NULLS NOT DISTINCT (role_id, permission_id, scope_type, scope_id),
    CONSTRAINT role_permission_scope_check CHECK (scope_type IN ('global', 'profile', 'issuer')),
    CONSTRAINT role_permission_scope_id_consistency
        CHECK ((scope_type = 'global') = (scope_id IS NULL))
);
CREATE INDEX idx_role_permissions_role ON role_permissions (role_id);

CREATE TABLE actor_roles (
    id text PRIMARY KEY,
    actor_id text NOT NULL,
    actor_type text NOT NULL CONSTRAINT actor_type_enum
        CHECK (actor_type IN ('User', 'System', 'Agent', 'APIKey', 'Anonymous')),
    role_id text NOT NULL REFERENCES roles ON DELETE RESTRICT,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    granted_by text NOT NULL DEFAULT 'system',
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    scope_type text NOT NULL DEFAULT 'global' CONSTRAINT actor_roles_scope_type_enum
        CHECK (scope_type IN ('global', 'profile', 'issuer')),
    scope_id text,
    CONSTRAINT actor_roles_scope_id_required_when_not_global
        CHECK ((scope_type = 'global') = (scope_id IS NULL)),
    -- Nulls are distinct here, so a global grant (scope_id NULL) never conflicts with itself and
    -- every start of the server adds one.
    CONSTRAINT actor_roles_actor_role_scope_unique
        UNIQUE (actor_id, actor_type, role_id, scope_type, scope_id, tenant_id)
);
CREATE INDEX idx_actor_roles_actor ON actor_roles (actor_id, actor_type, tenant_id);
CREATE INDEX idx_actor_roles_role ON actor_roles (role_id);
CREATE INDEX idx_actor_roles_scope ON actor_roles (scope_type, scope_id) WHERE scope_id IS NOT NULL;

-- The audit log: append-only, each row chained to the one before.

CREATE TABLE audit_events (
    id text PRIMARY KEY,
    actor varchar(255) NOT NULL,
    actor_type varchar(50) NOT NULL,
    action varchar(255) NOT NULL,
    resource_type varchar(255) NOT NULL,
    resource_id varchar(255) NOT NULL,
    details jsonb,
    timestamp timestamptz NOT NULL DEFAULT now(),
    event_category text NOT NULL DEFAULT 'cert_lifecycle'
        CHECK (event_category IN ('cert_lifecycle', 'auth', 'config')),
    prev_hash text,
    row_hash text NOT NULL
);
CREATE INDEX idx_audit_events_action ON audit_events (action);
CREATE INDEX idx_audit_events_actor ON audit_events (actor);
CREATE INDEX idx_audit_events_category_timestamp ON audit_events (event_category, timestamp DESC);
CREATE INDEX idx_audit_events_event_category ON audit_events (event_category);
CREATE INDEX idx_audit_events_resource_type_id ON audit_events (resource_type, resource_id);
CREATE INDEX idx_audit_events_timestamp ON audit_events (timestamp);
CREATE INDEX idx_audit_events_timestamp_desc ON audit_events (timestamp DESC);

CREATE TABLE audit_chain_head (
    id integer PRIMARY KEY CHECK (id = 1),
    row_hash text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO audit_chain_head (id) VALUES (1);

-- What is hashed of a row; a function of its own, so that a check can use the same text.
CREATE FUNCTION audit_events_canonical_payload(
    prev_hash text, id text, actor text, actor_type text, action text, resource_type text,
    resource_id text, details jsonb, at timestamptz, event_category text
) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(prev_hash, '')
        || '|' || id || '|' || actor || '|' || actor_type || '|' || action
        || '|' || resource_type || '|' || resource_id || '|' || coalesce(details::text, '')
        || '|' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '|' || coalesce(event_category, '');
END
$$;

-- The lock on the one row of audit_chain_head is held until commit: audit inserts queue for it,
-- however many connections make them. That is certctl's ceiling, and it is kept.
CREATE FUNCTION audit_events_compute_hash_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head text;
BEGIN
    SELECT row_hash INTO head FROM audit_chain_head WHERE id = 1 FOR UPDATE;
    NEW.prev_hash := nullif(head, '');
    NEW.row_hash := encode(
        -- Built in, unlike pgcrypto's digest(), and the same hash.
        sha256(convert_to(
            audit_events_canonical_payload(
                NEW.prev_hash, NEW.id, NEW.actor, NEW.actor_type, NEW.action, NEW.resource_type,
                NEW.resource_id, NEW.details, NEW.timestamp, NEW.event_category
            ),
            'UTF8'
        )),
        'hex'
    );
    UPDATE audit_chain_head SET row_hash = NEW.row_hash, updated_at = now() WHERE id = 1;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_events_hash_chain_trigger BEFORE INSERT ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_compute_hash_chain();

CREATE FUNCTION audit_events_block_modification() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events can only be added to' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER audit_events_worm_trigger BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_block_modification();
