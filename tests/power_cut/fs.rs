//! The disk as a file system that the kernel asks.
//!
//! Files are cached and may be mapped. Writes go through to the disk at once, so that the order of
//! writes, fsyncs and promises is the user's own.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::disk::{Answer, Disk, Node};
use crate::file::Content;
use crate::machine::Machine;
use crate::names::{Names, Number};

/// Nobody but the kernel changes anything: what it knows stays true.
const FOR_EVER: Duration = Duration::from_secs(1 << 20);

const FALLOC_KEEP_SIZE: i32 = 1;

/// A file system that loses what was not synced.
#[derive(Debug)]
pub(crate) struct LosingFs(pub(crate) Arc<Machine>);

impl LosingFs {
    fn attributes(&self, request: &Request, number: Number) -> Answer<FileAttr> {
        self.0.with(|disk| attributes(request, disk, number))
    }
}

fn attributes(request: &Request, disk: &Disk, number: Number) -> Answer<FileAttr> {
    let (kind, perm, size) = match disk.node(number)? {
        Node::Directory => (FileType::Directory, 0o755, 0),
        Node::File(content) => (FileType::RegularFile, 0o644, content.live.len() as u64),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn text(name: &OsStr) -> Answer<&str> {
    name.to_str().ok_or(Errno::EINVAL)
}

fn empty(answer: Answer<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn entry(answer: Answer<FileAttr>, reply: ReplyEntry) {
    match answer {
        Ok(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn attr(answer: Answer<FileAttr>, reply: ReplyAttr) {
    match answer {
        Ok(attributes) => reply.attr(&FOR_EVER, &attributes),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for LosingFs {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = text(name)
            .and_then(|name| self.0.with(|disk| disk.find(parent.0, name)))
            .and_then(|number| self.attributes(request, number));
        entry(found, reply);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.attributes(request, ino.0), reply);
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = match size {
            Some(size) => self.0.change(|disk| disk.set_length(ino.0, size)),
            None => Ok(()),
        };
        attr(done.and_then(|()| self.attributes(request, ino.0)), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = text(name)
            .and_then(|name| {
                self.0
                    .change(|disk| disk.make(parent.0, name, Node::Directory))
            })
            .and_then(|number| self.attributes(request, number));
        entry(made, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = text(name)
            .and_then(|name| {
                let node = Node::File(Content::default());
                self.0.change(|disk| disk.make(parent.0, name, node))
            })
            .and_then(|number| self.attributes(request, number));
        match made {
            Ok(attributes) => reply.created(
                &FOR_EVER,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = text(name).and_then(|name| self.0.change(|disk| disk.remove(parent.0, name)));
        empty(removed, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let renamed = text(name).and_then(|from| {
            let to = text(newname)?;
            self.0
                .change(|disk| disk.rename((parent.0, from), (newparent.0, to)))
        });
        empty(renamed, reply);
    }

    fn open(&self, _: &Request, _ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // The page cache outlives its users, and goes on showing what a failed fsync dropped.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.0.with(|disk| {
            let bytes = disk.read(ino.0, offset, size as usize);
            bytes.map(<[u8]>::to_vec)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.0.sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.0.sync(ino.0), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.0.with(|disk| {
            let entries = Names::within(&disk.names.live, ino.0).enumerate();
            for (index, (name, number)) in entries.skip(offset as usize) {
                let kind = match disk.nodes.get(&number) {
                    Some(Node::File(_)) => FileType::RegularFile,
                    _ => FileType::Directory,
                };
                if reply.add(INodeNo(number), index as u64 + 1, kind, name) {
                    break;
                }
            }
        });
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != FALLOC_KEEP_SIZE {
            return reply.error(Errno::EOPNOTSUPP);
        }
        empty(
            self.0.change(|disk| disk.claim(ino.0, offset + length)),
            reply,
        );
    }
}
