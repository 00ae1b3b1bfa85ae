package keys

// OneArgon2 is held by whoever runs Argon2id.
var OneArgon2 = oneArgon2
