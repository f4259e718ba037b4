ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A --sctp-service [2001:db8:1::10]:80 -s lc
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r [2001:db8:2::12]:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r [2001:db8:2::17]:80 -i -w 3 --tun-type gue --tun-port 6080
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r [2001:db8:2::16]:80 -i -w 10 --tun-type ipip
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r 198.51.100.14:8080 -i -w 0 --tun-type gue --tun-port 6080 --tun-remcsum -x 1 -y 0
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r 198.51.100.13:80 -i -w 2 --tun-type ipip
ipvsadm -A -t 192.0.2.11:53 -s wlc
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.16:53 -i -w 2 -x 2 -y 0
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.17:0 -i -w 3 --tun-type gre --tun-csum
ip link set eth1 mtu 1400
sysctl -w net.ipv4.vs.sloppy_tcp=0
sysctl -w net.ipv4.vs.sync_threshold='1 10'
sysctl -w net.ipv4.vs.sloppy_tcp=0
