"""A pytest plugin (`-p tests.prove.unshrunk`): a failing example is enough, nobody reads the smallest one."""

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=(Phase.explicit, Phase.generate), database=None)
settings.load_profile("unshrunk")
