"""The configuration: layers, where each value is from, and mistakes that are named."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from bty.errors import ConfigFailed, InvalidInput
from bty.services.config import DEFAULT_PASSWORD, DEFAULT_UPLOAD_BYTES, SECTIONS, Config, load_config


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    return tmp_path / "etc"


def load(etc: Path, **options) -> Config:
    environ = {"BTY_PATHS_STATE_DIR": str(etc.parent / "state"), **options.pop("environ", {})}
    return load_config(environ=environ, etc=etc, **options)


def test_without_any_file_the_defaults_count(tmp_path: Path):
    """Nothing configured gives the documented defaults, each marked so."""
    config = load_config(environ={}, etc=tmp_path / "none")

    assert (config.server.host, config.server.port) == ("0.0.0.0", 8080)
    assert config.admin.password == DEFAULT_PASSWORD
    assert config.has_default_password
    assert config.paths.state_dir == Path("/var/lib/bty")
    assert config.paths.boot_dir == Path("/var/lib/bty/boot")
    assert (config.flash.max_attempts, config.flash.verify) == (3, False)
    assert (config.events.retention_days, config.events.max_rows) == (90, 1_000_000)
    assert set(config.origins.values()) == {"default"}


def test_layers_override_each_other_key_by_key(etc: Path, tmp_path: Path):
    """conf.d < bty.toml < BTY_CONFIG_DIR < BTY_CONFIG_FILE < the state directory's file < the environment < the command line."""
    places = [
        etc / "conf.d" / "10-a.toml", etc / "conf.d" / "20-b.toml", etc / "bty.toml", tmp_path / "dir" / "x.toml", tmp_path / "file.toml",
        tmp_path / "state" / "bty.toml",
    ]  # fmt: skip
    keys = ["server.port", "server.host", "paths.boot_dir", "paths.backup_dir", "paths.catalog_file", "netboot.tftp_probe_host"]
    for depth, place in enumerate(places):
        place.parent.mkdir(exist_ok=True)
        lines = []
        for key in keys[depth:]:
            section, _, name = key.partition(".")
            lines.append(f"{section}.{name} = {9000 + depth if name == 'port' else repr(f'from-{depth}')}")
        place.write_text("\n".join(lines))
    environ = {"BTY_CONFIG_DIR": str(tmp_path / "dir"), "BTY_CONFIG_FILE": str(tmp_path / "file.toml"), "BTY_FLASH_MAX_ATTEMPTS": "7"}
    config = load(etc, environ=environ, overrides={"flash.verify": True})

    for depth, key in enumerate(keys):
        assert config.origins[key] == f"toml({places[depth]})"
    assert (config.server.port, config.server.host) == (9000, "from-1")
    assert (config.flash.max_attempts, config.origins["flash.max_attempts"]) == (7, "env(BTY_FLASH_MAX_ATTEMPTS)")
    assert (config.flash.verify, config.origins["flash.verify"]) == (True, "command line")


def test_named_files_replace_all_places(etc: Path, tmp_path: Path):
    """With --config nothing else is read; of several files and directories the last one wins; everything in them counts."""
    (etc / "bty.toml").write_text("[admin]\npassword = 'from etc'\n[server]\nhost = '10.0.0.9'")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a.toml").write_text("[server]\nport = 1111\n[withcache]\nurl = 'http://cache'")
    (tmp_path / "one.toml").write_text("[server]\nport = 2222\n[admin]\npassword = 'from one'\n[tuning]\nmax_upload_bytes = 5")
    config = load(etc, paths=[tmp_path / "dir", tmp_path / "one.toml"])

    assert config.server.port == 2222
    assert config.server.host == "0.0.0.0"
    assert (config.admin.password, config.withcache.url, config.tuning.max_upload_bytes) == ("from one", "http://cache", 5)


def test_a_named_file_must_exist(etc: Path):
    """--config with a path that is not there is an error that names it."""
    with pytest.raises(ConfigFailed, match=r"nix\.toml: no such file"):
        load(etc, paths=[etc / "nix.toml"])


# Where not any text is a value: a text that is, and what it becomes.
SPELLINGS = {
    "url": "http://cache",
    "ssh_authorized_keys": "ssh-ed25519 AAAA me, here,ssh-rsa BBBB",
    "ssh_password_hash": "$6$salt$0123456789abcdefghij",
}
ANSWERS = {"trusted_proxy": (ip_network("10.1.2.3"),), "ssh_authorized_keys": ("ssh-ed25519 AAAA me, here", "ssh-rsa BBBB")}


@pytest.mark.parametrize("key", [f"{section}.{name}" for section, cls in SECTIONS.items() for name in cls.__dataclass_fields__])
def test_every_key_has_an_environment_variable(etc: Path, key: str):
    """BTY_<SECTION>_<KEY> sets the key, whichever it is."""
    section, _, name = key.partition(".")
    kind = SECTIONS[section].__dataclass_fields__[name].type
    text = {"int": "12", "bool": "yes"}.get(str(kind), SPELLINGS.get(name, "10.1.2.3"))
    variable = f"BTY_{section}_{name}".upper()
    config = load(etc, environ={variable: text})
    value = getattr(getattr(config, section), name)

    assert config.origins[key] == f"env({variable})"
    assert value == {"int": 12, "bool": True}.get(str(kind), ANSWERS.get(name, type(value)(text)))


def test_an_empty_variable_is_none(etc: Path):
    """An environment variable without content leaves the layer below in force."""
    (etc / "bty.toml").write_text("[server]\nport = 81")

    assert load(etc, environ={"BTY_SERVER_PORT": " "}).server.port == 81


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[server]\nport = '8080'", "server.port"),
        ("[server]\nport = true", "server.port"),
        ("[server]\nhost = 5", "server.host"),
        ("[flash]\nverify = 1", "flash.verify"),
        ("[withcache]\nembedded = 'yes'", "withcache.embedded"),
        ("[paths]\nstate_dir = []", "paths.state_dir"),
        ("[server]\ntrusted_proxy = [1]", "server.trusted_proxy"),
        ("[server]\ntrusted_proxy = '10.0.0.0/99'", "server.trusted_proxy"),
        ("[server]\ntrusted_proxy = '(off)'", "server.trusted_proxy"),
        ("[admin]\npassword = 12345", "admin.password"),
        ("[withcache]\nurl = '(unset)'", "withcache.url"),
        ("server = [", "not TOML"),
        ("a = '\ud7ff\x00'", "not TOML"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(etc: Path, toml: str, named: str):
    """A value of the wrong type, and text that is no TOML, is an error with file and key, never silently the default."""
    (etc / "bty.toml").write_text(toml)
    with pytest.raises(ConfigFailed) as caught:
        load(etc)

    assert str(etc / "bty.toml") in str(caught.value)
    assert named in str(caught.value)
    assert "12345" not in str(caught.value)


def test_a_file_that_is_not_text_is_named(etc: Path):
    """Bytes that are no UTF-8 are an error with the file's name."""
    (etc / "bty.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigFailed, match=r"bty\.toml"):
        load(etc)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(etc: Path):
    """A file without permission is an error, not as if it were not there."""
    (etc / "bty.toml").touch(mode=0)
    with pytest.raises(ConfigFailed, match=r"bty\.toml"):
        load(etc)


@pytest.mark.parametrize("environ", [{"BTY_SERVER_PORT": "http"}, {"BTY_WITHCACHE_EMBEDDED": "maybe"}])
def test_a_wrong_variable_is_named(etc: Path, environ: dict[str, str]):
    """An environment variable that is no number, or no yes or no, is an error with its name."""
    with pytest.raises(ConfigFailed, match=next(iter(environ))):
        load(etc, environ=environ)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_from_1_to_65535(etc: Path, port: int):
    """Another number is wrong words, exit code 2."""
    with pytest.raises(InvalidInput) as caught:
        load(etc, overrides={"server.port": port})

    assert caught.value.exit_code == 2


def test_what_is_unknown_is_ignored_but_mentioned(etc: Path):
    """An unknown section or key changes nothing and gives a warning with its name."""
    (etc / "bty.toml").write_text("[sever]\nport = 1\n[server]\nprot = 2\n[admin]\n")
    config = load(etc)

    assert config.server.port == 8080
    assert [word for word in ("sever", "server.prot") if not any(word in warning for warning in config.warnings)] == []


@pytest.mark.parametrize(
    ("toml", "networks"),
    [("'10.0.0.1, fd00::/8'", ["10.0.0.1/32", "fd00::/8"]), ("['10.0.0.0/8']", ["10.0.0.0/8"]), ("''", []), ("[]", [])],
)
def test_trusted_proxies_are_networks(etc: Path, toml: str, networks: list[str]):
    """A list, or one string with commas, of addresses and networks."""
    (etc / "bty.toml").write_text(f"[server]\ntrusted_proxy = {toml}")

    assert load(etc).trusted_proxy == tuple(map(ip_network, networks))


@pytest.mark.parametrize("toml", ["password = ''", "password = '  '"])
def test_a_blank_password_is_the_default_one(etc: Path, toml: str):
    """Authentication can never be switched off."""
    (etc / "bty.toml").write_text(f"[admin]\n{toml}")

    assert load(etc).has_default_password


def test_limits_below_their_least_are_raised(etc: Path):
    """Zero and negative limits mean the least, or the default, that works."""
    (etc / "bty.toml").write_text("[tuning]\nbackup_max_parallel = 0\nmax_upload_bytes = -1\n[flash]\nmax_attempts = 0")
    config = load(etc)

    assert (config.tuning.backup_max_parallel, config.tuning.max_upload_bytes, config.flash.max_attempts) == (1, DEFAULT_UPLOAD_BYTES, 1)


def test_secrets_are_not_printed(etc: Path):
    """The configuration's repr shows neither password nor hash nor session secret."""
    (etc / "bty.toml").write_text("[admin]\npassword = 'hush1'\npassword_hash = 'hush2'\n[server]\nsession_secret = 'hush3'")

    assert "hush" not in repr(load(etc))


def test_paths_follow_the_state_directory(etc: Path):
    """Boot directory, backups and catalog lie in the state directory unless they are set."""
    config = load(etc, overrides={"paths.state_dir": "/srv/bty"})

    assert config.paths.boot_dir == Path("/srv/bty/boot")
    assert config.paths.catalog_file == Path("/srv/bty/catalog.toml")


def test_the_older_variables_still_count(etc: Path):
    """BTY_STATE_DIR and BTY_CATALOG_FILE work, below the newer names."""
    config = load_config(environ={"BTY_STATE_DIR": "/old", "BTY_CATALOG_FILE": "/old.toml"}, etc=etc)
    newer = load_config(environ={"BTY_STATE_DIR": "/old", "BTY_PATHS_STATE_DIR": "/new"}, etc=etc)

    assert (config.paths.state_dir, config.paths.catalog_file) == (Path("/old"), Path("/old.toml"))
    assert newer.paths.state_dir == Path("/new")
