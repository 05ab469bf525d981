"""A client in another language, from the published files of the protocol alone.

    shared.py PROTO_DIRECTORY ADDRESS [CA CERTIFICATE KEY]

Stores, reads, commits by compare-and-set, is told of a conflict, follows, and asks for health and for what
is served. Says `ok` if everything was as it must be.
"""

import sys
import tempfile
import threading
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from grpc_tools import protoc

PATIENCE = 300


def generate(protos: Path) -> None:
    """Makes Python of the protocol."""
    out = tempfile.mkdtemp()
    files = [str(path) for path in sorted(protos.glob("*.proto"))]
    include = Path(grpc_tools_protos())
    code = protoc.main(
        ["protoc", f"-I{protos}", f"-I{include}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    )
    assert code == 0, "the protocol does not compile"
    sys.path.insert(0, out)


def grpc_tools_protos() -> str:
    import grpc_tools

    return str(Path(grpc_tools.__file__).parent / "_proto")


def connect(address: str, files: list[str]) -> grpc.Channel:
    if not files:
        return grpc.insecure_channel(address)
    ca, certificate, key = (Path(file).read_bytes() for file in files)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "localhost")])


def kind_of(error: grpc.RpcError):
    """The error that lies in the details of a status."""
    import common_pb2 as common

    told = common.Error()
    details = rpc_status.from_call(error).details
    assert len(details) == 1 and details[0].Unpack(told), details
    return told


def main() -> None:
    protos, address, files = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    generate(protos)
    import common_pb2 as common
    import engine_pb2 as v1
    import engine_pb2_grpc as rpc

    channel = connect(address, files)
    grpc.channel_ready_future(channel).result(timeout=PATIENCE)
    engine = rpc.EngineStub(channel)

    # Is it well, and what is it?
    health = health_pb2_grpc.HealthStub(channel)
    for service in ["", "travertine.v1.Engine"]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert "travertine.v1.Engine" in services, services
    status = engine.Status(v1.StatusRequest(), timeout=PATIENCE)
    assert len(status.identity) == 16 and status.level.kind == common.LEVEL_KIND_DISK
    began = status.sequence

    # Whoever follows is told what lands.
    followed, told = engine.Follow(v1.FollowRequest(names=True)), []
    # The stream is open once the server has answered that it is.
    followed.initial_metadata()
    follower = threading.Thread(target=lambda: told.extend(next(followed) for _ in range(3)))
    follower.start()

    # One call by itself: two records, of which one names the other, and a name.
    committed = engine.Commit(
        v1.CommitRequest(
            store=[
                v1.StoreRequest(body=b"child"),
                v1.StoreRequest(kind=1024, body=b"parent", references=[v1.Target(own=0)]),
            ],
            changes=[v1.NameChange(name="python", to=v1.Target(own=1), expect=0)],
        ),
        timeout=PATIENCE,
    )
    assert committed.level.kind == common.LEVEL_KIND_DISK and committed.sequence == began + 1
    child, parent = committed.stored
    found = engine.Read(v1.ReadRequest(target=v1.Target(oid=parent.oid)), timeout=PATIENCE)
    assert (found.kind, found.body, list(found.references)) == (1024, b"parent", [child]), found
    nothing = engine.Read(v1.ReadRequest(target=v1.Target(oid=parent.oid + (1 << 30))), timeout=PATIENCE)
    assert not nothing.HasField("reference")

    # Stored, and named later by its address: expected to be what it is no more.
    stored = engine.Store(v1.StoreRequest(body=b"later"), timeout=PATIENCE).reference
    change = v1.NameChange(name="python", to=v1.Target(oid=stored.oid), expect=0)
    try:
        engine.Commit(v1.CommitRequest(changes=[change]), timeout=PATIENCE)
        raise AssertionError("there is such a name")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.ABORTED, error
        assert kind_of(error).kind == common.ERROR_KIND_CONFLICT
        assert "python" in error.details()
    change.expect = parent.oid
    engine.Commit(v1.CommitRequest(changes=[change]), timeout=PATIENCE)
    names = engine.Root(v1.RootRequest(name="python"), timeout=PATIENCE).names
    assert [(name.name, name.to) for name in names] == [("python", stored)]
    old = engine.Root(v1.RootRequest(sequence=committed.sequence, name="python"), timeout=PATIENCE).names
    assert old[0].to == parent

    # A session: many asks at once, the later ones name what the earlier ones store.
    asks = [v1.Ask(id=1, store=v1.StoreRequest(body=b"first"))]
    for number in range(2, 200):
        record = v1.StoreRequest(body=str(number).encode(), references=[v1.Target(ask=number - 1)])
        asks.append(v1.Ask(id=number, store=record))
    change = v1.NameChange(name="chain", to=v1.Target(ask=199))
    asks.append(v1.Ask(id=200, commit=v1.CommitRequest(changes=[change])))
    replies = {}
    for message in engine.Session(iter([v1.Asks(asks=asks)]), timeout=PATIENCE):
        for reply in message.replies:
            assert reply.WhichOneof("what") != "error", reply
            replies[reply.id] = reply
    assert replies[0].greeting.version == 1 and replies[0].greeting.identity == status.identity
    assert sorted(replies) == list(range(201))
    assert replies[200].committed.sequence == began + 3

    # The chain is read back from its end.
    at, length = replies[199].stored.reference, 0
    while at is not None:
        found = engine.Read(v1.ReadRequest(target=v1.Target(reference=at)), timeout=PATIENCE)
        at, length = (found.references[0] if found.references else None), length + 1
    assert length == 199

    # What is said of a record is held against it.
    lie = v1.Target(reference=common_reference(v1, stored))
    try:
        engine.Commit(v1.CommitRequest(changes=[v1.NameChange(name="lie", to=lie)]), timeout=PATIENCE)
        raise AssertionError("a lie was believed")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

    follower.join(PATIENCE)
    followed.cancel()
    assert [one.commit.sequence for one in told] == [began + 1, began + 2, began + 3], told
    changed = [[(name.name, name.to.oid) for name in one.commit.changed] for one in told]
    chain = replies[199].stored.reference.oid
    assert changed == [[("python", parent.oid)], [("python", stored.oid)], [("chain", chain)]], changed
    history = list(engine.History(v1.HistoryRequest(limit=3), timeout=PATIENCE))
    assert [entry.sequence for entry in history] == [began + 3, began + 2, began + 1]
    channel.close()
    print("ok")


def common_reference(v1, true):
    """Not the reference to what lies there."""
    lie = v1.Reference()
    lie.CopyFrom(true)
    lie.check ^= 1
    return lie


main()
