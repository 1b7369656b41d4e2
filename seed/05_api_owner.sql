-- Who owns what the API tier enters: an owner beside those of the seeded fleet, whose certificates
-- are counted. A second run changes nothing.

INSERT INTO owners (id, name, email, team_id)
VALUES ('o-api-loadtest', 'api-loadtest', 'api@loadtest.example.test', 't-loadtest')
ON CONFLICT (id) DO NOTHING;

-- expect: 1 = SELECT count(*) FROM owners WHERE id = 'o-api-loadtest' AND team_id = 't-loadtest'
