"""What the tests of pulling share: a daemon a module (fixture `node` of conftest.py), and what it must look like after."""

import contextlib
import os

import grpc
import harness

CODE = grpc.StatusCode


class Node:
    """A daemon to pull with: images come and go, and the store is empty between tests."""

    def __init__(self, skiff):
        self.skiff = skiff
        self.cri = skiff.cri

    def pull(self, image, _deadline=30, **auth):
        request = {"image": {"image": image}}
        if auth:
            request["auth"] = auth
        return self.cri.PullImage(_deadline=_deadline * harness.SLOW, **request).image_ref

    def refused(self, image, code, *texts, **auth):
        """The pull fails with the code and a sentence that has the texts, and leaves nothing."""
        before = self.contents()
        got, details = harness.code_of(self.pull, image, **auth)
        assert got == code, (got, details)
        for text in texts:
            assert text in details, details
        for secret in ("secret", "c2VjcmV0"):
            assert secret not in details
        harness.wait_for(lambda: self.contents() == before, f"{before} again, not {self.contents()}")
        return details

    def contents(self):
        """Images by name, layers, and whether something lies in the trash."""
        names = sorted(tag for image in self.cri.ListImages().images for tag in image.repo_tags)
        return names, sorted(os.listdir(self.skiff.root / "layers")), os.listdir(self.skiff.root / "trash") != []

    def layer(self, made, i=0):
        """The directory of an image's layer."""
        return self.skiff.root / "layers" / made.diff_ids[i].split(":")[1]

    def remove_all(self):
        for image in self.cri.ListImages().images:
            self.cri.RemoveImage(image={"image": image.id})
        harness.wait_for(lambda: self.contents() == ([], [], False), "an empty store")

    def hosts(self, host, text):
        directory = self.skiff.certs / host
        directory.mkdir(exist_ok=True)
        (directory / "hosts.toml").write_text(text)

    def no_hosts(self):
        harness.remove_tree(self.skiff.certs)
        self.skiff.certs.mkdir()


@contextlib.contextmanager
def running(future):
    """A call under way: cancelled at the end, if it is not over."""
    try:
        yield future
    finally:
        future.cancel()
